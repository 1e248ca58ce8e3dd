"""The HTTP face, one file for each resource; a route reads or writes and says so."""
