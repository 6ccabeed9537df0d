"""An object store that speaks S3 on this machine: moto's server, with credentials from the environment."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from werkzeug.serving import make_server

BUCKET = "bucket"
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class ObjectStore:
    """A bucket on a server that can be away for a while, or in trouble; what is in it stays."""

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self._application = DomainDispatcherApplication(create_backend_app)
        self._troubles: list[str] = []
        self.refused: list[str] = []
        self.port = 0
        self.start()

    def start(self) -> None:
        """Serves on a free port, or again on that of the first time."""
        self._server = make_server("127.0.0.1", self.port, self._answer, threaded=True)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.port = self._server.server_port

    def stop(self) -> None:
        """Refuses connections from here on."""
        self._server.shutdown()
        self._thread.join()

    def trouble(self, *statuses: str) -> None:
        """The next requests get these statuses, such as ``503 Slow Down``, and do nothing."""
        self._troubles, self.refused = list(statuses), []

    def _answer(self, environment, start_response):
        if not self._troubles:
            return self._application(environment, start_response)
        self.refused.append(environment["REQUEST_METHOD"])
        environment["wsgi.input"].read(int(environment.get("CONTENT_LENGTH") or 0))
        start_response(self._troubles.pop(0), [("Content-Length", "0")])
        return [b""]

    @property
    def endpoint(self) -> str:
        """Address of the server."""
        return f"http://127.0.0.1:{self.port}"

    def uri(self, folder: str) -> str:
        """A folder of the bucket, by a URI that names the server."""
        return f"s3://{BUCKET}/{folder}?endpoint_override={self.endpoint}"

    @property
    def filesystem(self):
        """The bucket past the program, with paths that begin with its name."""
        from pyarrow import fs

        return fs.S3FileSystem(endpoint_override=self.endpoint, allow_bucket_creation=True)

    def files(self, folder: str) -> dict[str, bytes]:
        """Every object below a folder, whatever wrote it."""
        from pyarrow import fs

        selector = fs.FileSelector(f"{BUCKET}/{folder}", recursive=True, allow_not_found=True)
        found = [each.path for each in self.filesystem.get_file_info(selector) if each.is_file]
        return {path.removeprefix(f"{BUCKET}/{folder}/"): self.read(path) for path in found}

    def read(self, path: str) -> bytes:
        """The bytes of an object."""
        with self.filesystem.open_input_stream(path) as stream:
            return stream.read()

    def put(self, path: str, data: bytes) -> None:
        """Replaces an object."""
        with self.filesystem.open_output_stream(path) as stream:
            stream.write(data)


@contextmanager
def object_store() -> Iterator[ObjectStore]:
    """A server with an empty bucket, and the environment that its users need."""
    before = dict(os.environ)
    os.environ.update(CREDENTIALS)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    store = ObjectStore()
    try:
        store.filesystem.create_dir(BUCKET)
        yield store
    finally:
        store.stop()
        os.environ.clear()
        os.environ.update(before)
