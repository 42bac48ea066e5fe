"""Operations: what touches the world, declared once with its undo."""

# Declaring
from activities._context import Context
from activities._definition import Definition

# Errors
from activities._errors import (
    CounterstepError,
    DefinitionError,
    DefinitionExists,
    InvalidInput,
    NoOutput,
    NotSerializable,
    OperationNotFound,
    OutcomeUnknown,
    ReportNotFound,
    ResultTooLarge,
    Retryable,
    Skip,
    UnknownFlow,
    Unrecoverable,
)

# Values
from activities._failure import Failure
from activities._operation import EmptyInput, Operation, operation
from activities._outcome import Outcome, Status
from activities._registry import Registry
from activities._retry import Retry
from activities._secrets import EnvironmentSecrets, FileSecrets, SecretRef, SecretSource

__all__ = [
    "Context",
    "CounterstepError",
    "Definition",
    "DefinitionError",
    "DefinitionExists",
    "EmptyInput",
    "EnvironmentSecrets",
    "Failure",
    "FileSecrets",
    "InvalidInput",
    "NoOutput",
    "NotSerializable",
    "Operation",
    "OperationNotFound",
    "Outcome",
    "OutcomeUnknown",
    "Registry",
    "ReportNotFound",
    "ResultTooLarge",
    "Retry",
    "Retryable",
    "SecretRef",
    "SecretSource",
    "Skip",
    "Status",
    "UnknownFlow",
    "Unrecoverable",
    "operation",
]
