"""Runtimes that networks can be timed with: one file each, with what it needs imported when it is made."""
