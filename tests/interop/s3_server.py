"""An S3 server for tests, moto's, that fails on demand. Prints its port, and serves until it is ended.

usage: s3_server.py MANIFEST; the bucket `faces` holds MANIFEST as ids.parquet and, twice, below folder/.

GET /_fail/KIND/N lets the next N requests fail: KIND is 500, 403, put (500, of what is put alone), or cut (a body that ends too early). GET /_log tells the keys that were put, in
order, a line each, and forgets them.
"""

import sys
import threading

import boto3
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

KEYS = dict(aws_access_key_id="x", aws_secret_access_key="x", region_name="us-east-1")


class Failing:
    def __init__(self, app):
        self.app, self.kind, self.left, self.puts, self.lock = app, None, 0, [], threading.Lock()

    def __call__(self, environ, start):
        path = environ["PATH_INFO"]
        with self.lock:
            if path.startswith("/_fail/"):
                self.kind, self.left = path.split("/")[2], int(path.split("/")[3])
                start("200 OK", [("Content-Length", "0")])
                return [b""]
            if path == "/_log":
                body, self.puts = "\n".join(self.puts).encode(), []
                start("200 OK", [("Content-Length", str(len(body)))])
                return [body]
            reads = environ["REQUEST_METHOD"] in ("GET", "HEAD")
            concerned = {"cut": environ["REQUEST_METHOD"] == "GET" and path.endswith(".parquet"), "put": not reads}
            failing = self.left > 0 and concerned.get(self.kind, True)
            self.left -= failing
            if not failing and environ["REQUEST_METHOD"] in ("PUT", "POST"):
                self.puts.append(path)
        if failing and self.kind in ("500", "put"):
            start("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        if failing and self.kind == "403":
            start("403 Forbidden", [("Content-Length", "0")])
            return [b""]
        body = self.app(environ, start)
        if failing:
            whole = b"".join(body)
            return [whole[: len(whole) // 2]]
        return body


app = Failing(DomainDispatcherApplication(create_backend_app))
server = make_server("127.0.0.1", 0, app, threaded=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{server.port}", **KEYS)
client.create_bucket(Bucket="faces")
for key in ("ids.parquet", "folder/a.parquet", "folder/more/b.parquet"):
    client.upload_file(sys.argv[1], "faces", key, ExtraArgs={"ACL": "public-read"})
print(server.port, flush=True)
threading.Event().wait()
