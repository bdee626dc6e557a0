"""Stands in for the management of Azure Event Hubs over AMQP 1.0.

It answers what a client asks about hubs and their partitions, once a token for
the hub was put: a shared access signature whose signature is checked, or the
token that Entra gives in tests. What there is to say it reads, for each request,
from a file of JSON:

    {"hubs": {"orders": [[first, last], ...]},
     "keys": {"Root": "..."}, "tokens": ["..."], "silent": false,
     "groups": ["..."], "readers": {"<hub>/<group>/<partition>": 5},
     "event": 100, "stolen": ["<hub>"]}

Events are sent to receivers that were opened at the end of a partition of one of the
groups, as far as they have credit: those after the last one that there was then, of
so many bytes each. A receiver says how large an event may be, and a larger one ends
it. readers are how many others a partition has in a group, which is five in all.

usage: eventhubs.py <host:port> <file> [<certificate> <key>]
"""

import base64
import hashlib
import hmac
import json
import sys
import time
import urllib.parse

from proton import UNDESCRIBED, Array, Condition, Data, Message, int32
from proton.handlers import MessagingHandler
from proton.reactor import Container


class Server(MessagingHandler):
    def __init__(self, address, file, pair):
        super().__init__(prefetch=100, auto_accept=True)
        self.address, self.file, self.pair = address, file, pair
        self.claims = {}  # by connection, the hubs that tokens are for
        self.replies = {}  # by connection and address
        self.readers = {}  # by receiver, its hub, group and partition, and the last event that it was sent
        self.refused = {}  # by receiver, why it may not be

    def state(self):
        with open(self.file, encoding="utf-8") as text:
            return json.load(text)

    def on_start(self, event):
        scheme = "amqp"
        if self.pair:
            event.container.ssl.server.set_credentials(self.pair[0], self.pair[1], None)
            scheme = "amqps"
        event.container.listen(scheme + "://" + self.address)
        event.container.schedule(0.02, self)
        print("listening", flush=True)

    def on_connection_opened(self, event):
        print("connection", flush=True)

    def on_link_opening(self, event):
        link = event.link
        if link.is_sender and "/ConsumerGroups/" in (link.remote_source.address or ""):
            self.open_reader(event.connection, link)
        elif link.is_sender:
            self.replies[(event.connection, link.remote_target.address)] = link
            link.snd_settle_mode = link.remote_snd_settle_mode
            link.source.address = link.remote_source.address
            link.target.address = link.remote_target.address
        else:
            link.target.address = link.remote_target.address
            link.source.address = link.remote_source.address

    def open_reader(self, connection, link):
        link.snd_settle_mode = link.remote_snd_settle_mode
        link.source.address = link.remote_source.address
        link.target.address = link.remote_target.address
        state = self.state()
        hub, _, group, _, partition = link.remote_source.address.split("/")
        where = "/".join([hub, group, partition])
        begin = ""
        if link.remote_source.filter.next():
            begin = str(link.remote_source.filter.get_object())
        there = sum(1 for reader in self.readers.values() if reader[:3] == (hub, group, int(partition)))
        if hub not in self.claims.get(connection, ()):
            self.refused[link] = "amqp:unauthorized-access"
        elif hub not in state["hubs"] or group not in (state.get("groups") or []):
            self.refused[link] = "amqp:not-found"
        elif there + (state.get("readers") or {}).get(where, 0) >= 5:
            self.refused[link] = "amqp:resource-limit-exceeded"
        elif "amqp.annotation.x-opt-offset > '@latest'" not in begin:
            self.refused[link] = "amqp:invalid-field"
        else:
            self.readers[link] = (hub, group, int(partition), state["hubs"][hub][int(partition)][1])
            print("receiver", where, flush=True)

    def on_link_local_open(self, event):
        if event.link in self.refused:
            self.end(event.link, self.refused.pop(event.link))

    def end(self, link, why):
        self.readers.pop(link, None)
        link.condition = Condition(why, "hush-hush")
        link.close()

    def on_link_closing(self, event):
        self.leave(lambda link: link == event.link)

    def on_session_closing(self, event):
        self.leave(lambda link: link.session == event.session)

    def on_connection_closing(self, event):
        self.leave(lambda link: link.connection == event.connection)

    def on_disconnected(self, event):
        self.leave(lambda link: link.connection == event.connection)

    def leave(self, gone):
        for link in [link for link in self.readers if gone(link)]:
            self.readers.pop(link)
            print("left", flush=True)

    def on_timer_task(self, event):
        event.container.schedule(0.02, self)
        if not self.readers:
            return
        state = self.state()
        for link, (hub, group, partition, sent) in list(self.readers.items()):
            if hub in (state.get("stolen") or []):
                self.end(link, "amqp:link:stolen")
            elif state["hubs"][hub][partition][1] > sent and link.credit > 0 and not state.get("silent"):
                body = b"x" * state.get("event", 0)
                if 0 < link.remote_max_message_size < len(body) + 200:
                    self.end(link, "amqp:link:message-size-exceeded")
                    continue
                self.readers[link] = (hub, group, partition, sent + 1)
                link.send(Message(body=body, annotations={"x-opt-sequence-number": sent + 1}))
                print("event", flush=True)

    def on_message(self, event):
        state, message = self.state(), event.message
        if state.get("silent"):
            return
        node = event.receiver.target.address
        properties = message.properties or {}
        if node == "$cbs":
            status, body = self.put_token(event.connection, state, properties, message.body)
        else:
            print("asked", json.dumps([properties.get("type"), properties.get("name"), properties.get("partition")]), flush=True)
            status, body = self.manage(event.connection, state, node, properties)
        reply = Message(address=message.reply_to, correlation_id=message.id, body=body,
                        properties={"status-code": int32(status), "status-description": "hush-hush"})
        sender = self.replies.get((event.connection, message.reply_to))
        if sender:
            delivery = sender.send(reply)
            delivery.settle()

    def put_token(self, connection, state, properties, token):
        name = properties.get("name", "")
        kind = properties.get("type")
        if kind == "jwt" and token in state.get("tokens", []) or kind == "servicebus.windows.net:sastoken" and self.signed(state, name, token):
            self.claims.setdefault(connection, set()).add(name.rsplit("/", 1)[1])
            return 202, None
        return 401, None

    @staticmethod
    def signed(state, resource, token):
        parts = dict(part.split("=", 1) for part in token.removeprefix("SharedAccessSignature ").split("&"))
        key = state["keys"].get(urllib.parse.unquote(parts.get("skn", "")), "")
        text = parts["sr"] + "\n" + parts["se"]
        want = base64.b64encode(hmac.new(key.encode(), text.encode(), hashlib.sha256).digest()).decode()
        return (key != "" and urllib.parse.unquote(parts["sig"]) == want and int(parts["se"]) > time.time()
                and resource.lower().startswith(urllib.parse.unquote(parts["sr"])))

    def manage(self, connection, state, node, properties):
        hub = properties.get("name")
        if node != hub + "/$management" or hub not in self.claims.get(connection, ()) or not properties.get("security_token"):
            return 401, None
        if hub not in state["hubs"]:
            return 404, None
        partitions = state["hubs"][hub]
        if properties.get("type") == "com.microsoft:eventhub":
            return 200, {"name": hub, "partition_count": len(partitions), "partition_ids": Array(UNDESCRIBED, Data.STRING, *[str(i) for i in range(len(partitions))])}
        first, last = partitions[int(properties["partition"])]
        return 200, {"name": hub, "partition": properties["partition"], "begin_sequence_number": first, "last_enqueued_sequence_number": last,
                     "last_enqueued_offset": "0", "is_partition_empty": last < first}


def main():
    pair = sys.argv[3:5]
    Container(Server(sys.argv[1], sys.argv[2], pair)).run()


main()
