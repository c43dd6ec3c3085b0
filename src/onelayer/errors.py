"""The errors onelayer raises on purpose: each message is one sentence a user can act on.

A message says what was expected, what was got, where, and what to do about it. The command line
prints it and ends with exit code 1; anything else that escapes is a bug.
"""


class OnelayerError(Exception):
    """Base of all errors that onelayer raises on purpose."""


class DataError(OnelayerError):
    """Rows, labels or files that are not what they should be."""


class SourceError(DataError):
    """A data set could not be had from any of its sources."""


class SettingsError(OnelayerError, ValueError):
    """A setting of a run or a command outside its range, or of an unknown name."""


class StepLengthWarning(UserWarning):
    """A learning rate above what is guaranteed to be stable on the training rows."""


class CheckpointWarning(UserWarning):
    """A checkpoint that could not be written or is damaged; training goes on all the same."""


class SaveError(OnelayerError):
    """A result could not be written or read back."""


class ExportError(OnelayerError):
    """A model could not be handed to another tool."""
