"""What does a model say about programs? Critiques, revisions and judgements by a constitution, as pairs marked "ai"."""
