"""Images: their sources, how they are read, and the prepared Parquet files."""
