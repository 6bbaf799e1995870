"""Copies files between a folder and a bucket of the server at AWS_ENDPOINT.

    python bucket.py create BUCKET
    python bucket.py upload FOLDER BUCKET PREFIX
    python bucket.py download FOLDER BUCKET PREFIX
"""

import os
import sys

import boto3


def files(folder):
    """The paths of all files below a folder, relative to it."""
    for root, _, names in os.walk(folder):
        for name in names:
            yield os.path.relpath(os.path.join(root, name), folder)


def main():
    command, *arguments = sys.argv[1:]
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT"])
    if command == "create":
        client.create_bucket(Bucket=arguments[0])
        return
    folder, bucket, prefix = arguments
    if command == "upload":
        for name in files(folder):
            key = f"{prefix}/{name.replace(os.sep, '/')}"
            client.upload_file(os.path.join(folder, name), bucket, key)
        return
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    for page in pages:
        for found in page.get("Contents", []):
            path = os.path.join(folder, found["Key"].removeprefix(f"{prefix}/"))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            client.download_file(bucket, found["Key"], path)


main()
