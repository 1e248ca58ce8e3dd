"""The paths: read, write, invalidate. One file each; decisions without I/O are in `decide`."""
