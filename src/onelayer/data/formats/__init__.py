"""File formats that rows are read from, behind one registry."""
