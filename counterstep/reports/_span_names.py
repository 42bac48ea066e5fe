"""The names of our spans' attributes, one list; ``docs/spans.md`` explains each."""

from __future__ import annotations

KIND = "counterstep.kind"
DEFINITION = "counterstep.definition"
STEP = "counterstep.step"
OUTCOME = "counterstep.outcome"
ATTEMPTS = "counterstep.attempts"
WORKER = "counterstep.worker"
SKIPPED = "counterstep.skipped"
SERIES, SERIES_ORDER = "counterstep.series.id", "counterstep.series.order"
LAST_FAILURE, LAST_FAILURE_MESSAGE = "counterstep.last_failure.type", "counterstep.last_failure.message"
INPUT, OUTPUT = "counterstep.input", "counterstep.output"
NAMESPACE = "counterstep.namespace"
WORKFLOW_ID, WORKFLOW_TYPE = "counterstep.workflow.id", "counterstep.workflow.type"
RUN_ID, ORIGIN = "counterstep.run.id", "counterstep.origin"
END = "counterstep.end"
PART = "counterstep.part"
RESUMED_FROM = "counterstep.resumed_from"

# Of events
WHY, SECONDS = "counterstep.why", "counterstep.seconds"
ACTION, BY = "counterstep.action", "counterstep.by"

# OpenTelemetry's own
ERROR_TYPE = "error.type"
