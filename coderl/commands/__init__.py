"""The commands of `coderl`, a file each: a thin shell around one function of a module, light to import."""
