"""One short main per stage, and `run`, which is all of them in order."""
