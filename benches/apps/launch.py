"""Starts a server that has no command of its own, or one that cannot be tuned by its command.

Usage: `launch.py SERVER MODULE:ATTRIBUTE PORT`.
"""

from __future__ import annotations

import importlib
import logging
import sys


def main(server: str, target: str, port: int) -> None:
    module, _, attribute = target.partition(":")
    app = getattr(importlib.import_module(module), attribute)
    package = importlib.import_module(server)
    if server == "bjoern":
        package.run(app, "127.0.0.1", port)
    elif server == "freastal":
        package.serve(app, host="127.0.0.1", port=port, workers=1)
    elif server == "fastpysgi":
        # Its command cannot switch off Nagle's algorithm, which would make streams crawl.
        package.server.tcp_nodelay = 1
        package.run(app, host="127.0.0.1", port=port)
    elif server == "waitress":
        # Its command has no switch for one warning per queued request, written under any load.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        package.serve(
            app,
            listen=f"127.0.0.1:{port}",
            connection_limit=20000,
            asyncore_use_poll=True,
        )
    else:
        raise SystemExit(f'launch.py: got "{server}", expected bjoern, fastpysgi, freastal or waitress')


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
