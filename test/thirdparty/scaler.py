"""A third-party scaler, written from externalscaler.proto alone.

It scales on numbers that are set over HTTP, for example

    curl -X PUT http://127.0.0.1:8000/orders/50

and knows two metadata keys: `counter` (which number; required) and
`perReplica` (the target; default 5).

    scaler.py --grpc 127.0.0.1:9090 --http 127.0.0.1:8000 --proto DIR
"""

import argparse
import importlib
import pathlib
import signal
import sys
import tempfile
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from grpc_tools import protoc


def load_contract(proto_dir):
    """Compiles externalscaler.proto and returns its two modules."""
    out = tempfile.mkdtemp(prefix="externalscaler-")
    source = pathlib.Path(proto_dir) / "externalscaler.proto"
    code = protoc.main(
        ["protoc", f"-I{source.parent}", f"--python_out={out}", f"--grpc_python_out={out}", str(source)]
    )
    if code != 0:
        sys.exit(f"{source}: does not compile")
    sys.path.insert(0, out)
    return importlib.import_module("externalscaler_pb2"), importlib.import_module("externalscaler_pb2_grpc")


class Counters:
    """Numbers by name; whoever waits is woken by every change."""

    def __init__(self):
        self._values = {}
        self._changed = threading.Condition()
        self._version = 0
        self.open = True

    def get(self, name):
        with self._changed:
            return self._values.get(name, 0)

    def set(self, name, value):
        with self._changed:
            self._values[name] = value
            self._version += 1
            self._changed.notify_all()

    def close(self):
        with self._changed:
            self.open = False
            self._changed.notify_all()

    def wait_change(self, seen):
        """Blocks until something changed since version `seen`; at most 1 s."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != seen or not self.open, timeout=1)
            return self._version


def make_servicer(pb, pb_grpc, counters):
    class Scaler(pb_grpc.ExternalScalerServicer):
        def _counter(self, ref, context):
            name = ref.scalerMetadata.get("counter", "")
            if not name:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "counter: is required")
            return name

        def IsActive(self, request, context):
            return pb.IsActiveResponse(result=counters.get(self._counter(request, context)) > 0)

        def StreamIsActive(self, request, context):
            name, version, last = self._counter(request, context), -1, None
            while context.is_active() and counters.open:
                active = counters.get(name) > 0
                if active != last:
                    yield pb.IsActiveResponse(result=active)
                    last = active
                version = counters.wait_change(version)

        def GetMetricSpec(self, request, context):
            name = self._counter(request, context)
            text = request.scalerMetadata.get("perReplica", "5")
            try:
                target = float(text)
            except ValueError:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"perReplica: {text!r} is not a number")
            spec = pb.MetricSpec(metricName=f"counter-{name}", targetSize=int(target), targetSizeFloat=target)
            return pb.GetMetricSpecResponse(metricSpecs=[spec])

        def GetMetrics(self, request, context):
            value = counters.get(self._counter(request.scaledObjectRef, context))
            answer = pb.MetricValue(
                metricName=request.metricName, metricValue=int(value), metricValueFloat=float(value)
            )
            return pb.GetMetricsResponse(metricValues=[answer])

    return Scaler()


def make_http(address, counters):
    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self):
            _, name, value = self.path.split("/")
            counters.set(name, float(value))
            self.send_response(204)
            self.end_headers()

        def do_GET(self):
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    host, port = address.rsplit(":", 1)
    return ThreadingHTTPServer((host, int(port)), Handler)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--grpc", required=True, help="host:port to serve the scaler on")
    parser.add_argument("--http", required=True, help="host:port to set numbers on")
    parser.add_argument("--proto", required=True, help="folder of externalscaler.proto")
    args = parser.parse_args()

    pb, pb_grpc = load_contract(args.proto)
    counters = Counters()
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64))
    pb_grpc.add_ExternalScalerServicer_to_server(make_servicer(pb, pb_grpc, counters), server)
    server.add_insecure_port(args.grpc)
    server.start()
    http = make_http(args.http, counters)
    threading.Thread(target=http.serve_forever, daemon=True).start()

    stop = threading.Event()
    for sig in (signal.SIGINT, signal.SIGTERM):
        signal.signal(sig, lambda *_: stop.set())
    stop.wait()
    counters.close()
    server.stop(grace=1).wait()
    http.shutdown()


if __name__ == "__main__":
    main()
