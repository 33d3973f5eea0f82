"""Files of others that tlkit reads and writes: hub modules, TFLite and its metadata."""
