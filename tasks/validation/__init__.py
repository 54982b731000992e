"""Do the tests of a task mean something? Its reference must pass; programs that do nothing, and wrong ones, must not."""

from tasks.validation.findings import Finding, Survivor
from tasks.validation.mutants import Mutant, mutants
from tasks.validation.nulls import NullProgram, null_programs
from tasks.validation.runner import Settings, validate

__all__ = ["Finding", "Mutant", "NullProgram", "Settings", "Survivor", "mutants", "null_programs", "validate"]
