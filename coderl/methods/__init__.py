"""The two seams in which methods differ: where a batch comes from (`collect`) and what is minimised (`loss`)."""
