"""The shipped runs, one YAML file each; `coderl config NAME` prints one with every default filled in."""
