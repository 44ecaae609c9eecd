"""Model files and graphs: load, save, check, metadata, shapes, editing."""
