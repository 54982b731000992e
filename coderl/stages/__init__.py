"""What do the stages do that train nothing? One function per stage: it reads and writes the run folder."""
