"""Say what can go wrong, one class a kind, all of them catchable as `WithinError`.

Each kind is also the built-in error that it specialises, so a caller who knows only Python catches it too. A message states what was
given, what was wanted, and what to do next."""


class WithinError(Exception):
    """Base of every error that this package raises on purpose."""


class SettingsError(WithinError, ValueError):
    """A setting has a value that cannot be used."""


class SchemaError(WithinError, ValueError):
    """A table lacks a column, or a column has a type that cannot be used."""


class SampleError(WithinError, ValueError):
    """A sample is too small, not finite or otherwise unfit for the computation asked of it."""


class UnreadableExportError(WithinError, ValueError):
    """A file as a whole cannot be read as an ad-platform export."""


class AmbiguousPlatformError(UnreadableExportError):
    """A header fits more than one platform, or none."""


class MappingError(WithinError, ValueError):
    """A mapping file breaks its schema or does not fit the file that it should read."""


class SplitAccountError(WithinError, ValueError):
    """A batch holds only a part of an account's rows, so its windows would be silently wrong."""


class CommitConflictError(WithinError, RuntimeError):
    """Another writer kept winning; nothing was written."""


class NotFittedError(WithinError, ValueError, AttributeError):
    """A predictor was asked before it was fitted and no champion is registered."""


class ArtifactError(WithinError, ValueError):
    """A model artifact is incomplete, was changed after it was written, or has an unknown format."""


class ModelNotFoundError(WithinError, LookupError):
    """No such model, version or alias in the registry."""


class PromotionRefusedError(WithinError, RuntimeError):
    """A version lacks a passing verdict for a required gate, or somebody else moved the alias first."""


class DatabaseError(WithinError, RuntimeError):
    """The operational database cannot be reached or is not at the schema version that this code needs."""


class AlertStateError(WithinError, LookupError):
    """No such alert, or one whose state does not allow what was asked."""
