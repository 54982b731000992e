"""The larger commands of `sandbox`, one file each: `register` adds it to the application."""
