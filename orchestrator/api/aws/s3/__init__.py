"""The S3 gateway: buckets of this home for unchanged S3 clients."""
