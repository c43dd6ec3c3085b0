"""Every reader on damaged files: `make fuzz`, `python -m tests.fuzz`."""
