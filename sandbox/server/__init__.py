"""Grades over HTTP: `sandbox serve`. Needs the extra `serve`; nothing outside this folder imports it at start."""
