"""A gallery that Milvus keeps."""
