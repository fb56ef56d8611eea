"""Coverage-guided fuzzing (`make fuzz`): one module for each place where bytes of others come in.

Each has `fuzz(data)`, which returns or raises AssertionError, `SEEDS` to begin with, and `FOUND`, what once broke it.
`tests/unit/test_fuzz_targets.py` tries those without atheris.
"""
