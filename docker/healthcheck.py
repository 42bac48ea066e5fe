"""Tell whether the worker of this container serves: its host polls the task queue. Exit code 0 or 1."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from datetime import timedelta

from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import PollerInfo, TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client
from temporalio.envconfig import ClientConfig
from temporalio.service import RPCError

ANSWER = timedelta(seconds=5)
POLL = timedelta(minutes=2)  # one that finds nothing ends after a minute


async def pollers(task_queue: str) -> list[PollerInfo]:
    """Who polls the queue, on the Temporal that the environment names."""
    client = await Client.connect(**ClientConfig.load_client_connect_config())
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=task_queue),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    answer = await client.workflow_service.describe_task_queue(request, timeout=ANSWER)
    return list(answer.pollers)


def here(poller: PollerInfo) -> bool:
    """Whether it is this host that polled, and lately."""
    age = time.time() - poller.last_access_time.ToSeconds()
    return socket.gethostname() in poller.identity and age < POLL.total_seconds()


def main() -> int:
    """Look, and say what is wrong."""
    task_queue = os.environ.get("COUNTERSTEP_TASK_QUEUE", "counterstep")
    try:
        if any(here(poller) for poller in asyncio.run(pollers(task_queue))):
            return 0
        print(f"no worker on this host polls {task_queue}", file=sys.stderr)
    except (RPCError, RuntimeError) as error:
        print(f"Temporal doesn't answer: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
