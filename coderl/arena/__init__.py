"""Which of several models is better? Comparisons from execution, judges and people, as ratings with intervals."""
