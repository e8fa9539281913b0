"""Cannot be imported."""

raise ImportWarning("this module fails on purpose")
