"""Bad inputs by area, for `benchmarks/robustness.py`: each file gives `cases()`."""
