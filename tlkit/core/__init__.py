"""What every room stands on: records, errors, files, progress. Plain Python and NumPy."""
