"""Search by similarity in a collection."""
