"""One thin script per DVC stage: read its parameters, call the library, write its outputs."""
