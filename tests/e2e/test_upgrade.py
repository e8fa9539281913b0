"""USR2: another arbiter on the same sockets, up to the end of the old one and back again, without a lost request."""

from __future__ import annotations

import os
import random
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from harness import APPS, ASGI, HOST, SYNC, Load, Server, command, fetch, proc, wait_until
from harness.http2 import Closed, Http2
from harness.tls import TlsSocket, server_tls
from test_settings import run

pytestmark = pytest.mark.usefixtures("worker_type")

LOAD = {"keepalive": 4, "oneshot": 3, "think": 0.004}


def start_new(server: Server) -> int:
    """Sends USR2, waits until the new arbiter serves, and returns its process id."""
    mark = server.log.mark()
    server.kill(signal.SIGUSR2)
    return int(server.log.wait_for(r"The new arbiter serves .*arbiter=(\d+)", since=mark, timeout=40)[1])


def end_old(server: Server, new: int) -> None:
    mark = server.log.mark()
    server.kill(signal.SIGTERM)
    assert server.wait_exit() == 0
    server.go_on_as(new)
    server.log.wait_for("This arbiter has replaced", since=mark)


def workers_of(arbiter: int, but: int) -> list[int]:
    return [pid for pid in proc.children(arbiter) if pid != but]


def send_old_workers_home(server: Server, new: int) -> None:
    server.kill(signal.SIGWINCH)
    wait_until(lambda: not workers_of(server.arbiter, but=new), "the old workers' end", 20)


# -- up and down, under load -------------------------------------------------------------------------------------------


def test_up(serve):
    server = serve("basic:app", "--keep-alive", "30", workers=2)
    with Load(server.address, **LOAD) as load:
        load.wait_for(100)
        for step in range(2):
            new = start_new(server)
            load.wait_for(60)
            if step == 0:
                send_old_workers_home(server, new)
                load.wait_for(60)
            end_old(server, new)
            load.wait_for(60)
        assert {int(pid) for pid in load.tally.answered_by} >= set(server.worker_pids())
    load.tally.nothing_lost()


def ask_over_http2(connect: Callable[..., Http2], stop: threading.Event) -> int:
    """One request after another on one connection, and on another one when the server has said that it ends."""
    count = 0
    while not stop.is_set():
        with connect() as client:
            while not stop.is_set() and client.goaway is None:
                number = client.request(f"/id/{count}")
                try:
                    stream = client.wait(number)
                except Closed:
                    # What a server has told that it does not serve, a client sends elsewhere (RFC 9113 §6.8).
                    assert client.goaway is not None and client.goaway[0] < number, client.goaway
                    break
                assert stream.status == 200 and stream.body.startswith(b"%d " % count)
                count += 1
    return count


@pytest.mark.worker_types(SYNC, ASGI)
def test_up_with_tls_and_http2(serve, tmp_path):
    """Connections of both versions, and a response that the old workers still have to deliver."""
    tls = server_tls(tmp_path)
    server = serve("basic:app", "--http-protocols", "h2,h1", workers=2, tls=tls)
    context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    context.set_alpn_protocols(["h2"])

    def connect(**options: object) -> Http2:
        opened = TlsSocket(socket.create_connection(server.address, 20), context, tls.name)
        return Http2(server.address, opened=opened, **options)

    stop = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        asking = [pool.submit(ask_over_http2, connect, stop) for _ in range(2)]
        try:
            with Load(server.address, keepalive=2, oneshot=2, think=0.01, tls=tls) as load:
                load.wait_for(30)
                with connect(window=0, automatic=False) as client:
                    number = client.request("/big?n=60000")
                    client.until(lambda: client.streams[number].status)
                    new = start_new(server)
                    server.kill(signal.SIGTERM)
                    client.until(lambda: client.goaway)
                    client.http.increment_flow_control_window(1 << 20, number)
                    client.flush()
                    assert len(client.wait(number).body) == 60_000
                assert server.wait_exit() == 0
                server.go_on_as(new)
                load.wait_for(60)
        finally:
            stop.set()
        assert all(one.result() > 0 for one in asking)
    assert {int(pid) for pid in load.tally.answered_by} >= set(server.worker_pids())
    load.tally.nothing_lost()


@pytest.mark.worker_types(SYNC)
def test_up_with_preload(serve):
    """The new arbiter has a process of its own that has imported the application, and the old one's goes with it."""
    server = serve("basic:app", "--preload", "--log-level", "debug", workers=2)
    zygote = server.zygote_pid()
    with Load(server.address, **LOAD) as load:
        load.wait_for(60)
        end_old(server, start_new(server))
        load.wait_for(60)
        assert not proc.alive(zygote) and server.zygote_pid() != zygote
        assert {int(pid) for pid in load.tally.answered_by} >= set(server.worker_pids())
    load.tally.nothing_lost()


@pytest.mark.parametrize("call_back", [signal.SIGHUP, signal.SIGTTIN])
def test_down(serve, call_back):
    """As long as the old arbiter is there, it can have its workers back, and the new one leave."""
    server = serve("basic:app", "--keep-alive", "30", workers=1)
    with Load(server.address, **LOAD) as load:
        load.wait_for(60)
        new = start_new(server)
        send_old_workers_home(server, new)
        load.wait_for(60)
        answered = set(load.tally.answered_by)
        server.kill(call_back)
        wait_until(lambda: set(load.tally.answered_by) - answered, "an answer of the old arbiter's worker", 20)
        os.kill(new, signal.SIGTERM)
        wait_until(lambda: not proc.alive(new), "the new arbiter's end", 20)
        load.wait_for(60)
        assert len(server.worker_pids()) == 1
    load.tally.nothing_lost()


SOURCE = "import sys\nsys.path.insert(0, {apps!r})\nfrom {module} import app\n"


@pytest.fixture
def release(tmp_path, worker_type) -> Path:
    """live.py, whose content a test replaces."""
    module = "asgi_basic" if worker_type == ASGI else "basic"
    path = tmp_path / "live.py"
    path.write_text(SOURCE.format(apps=str(APPS), module=module))
    return path


def test_a_new_arbiter_that_cannot_boot_changes_nothing(serve, release):
    server = serve("live:app", workers=2, cwd=release.parent)
    before = server.worker_pids()
    good = release.read_text()
    with Load(server.address, **LOAD) as load:
        load.wait_for(60)
        release.write_text("raise RuntimeError('broken release')\n")
        server.kill(signal.SIGUSR2)
        server.log.wait_for("RuntimeError: broken release")
        server.log.wait_for("Upgrade failed, this server goes on")
        load.wait_for(60)
        assert server.worker_pids() == before
        release.write_text(good)
        end_old(server, start_new(server))
        load.wait_for(60)
    load.tally.nothing_lost()


def test_workers_come_back_when_the_new_arbiter_dies(serve):
    """With nobody else left to serve, the old arbiter does not wait to be told."""
    server = serve("basic:app", workers=1)
    new = start_new(server)
    send_old_workers_home(server, new)
    for pid in [new, *proc.children(new)]:
        os.kill(pid, signal.SIGKILL)
    server.wait_workers(1)
    assert server.fetch().status == 200


# -- in one command ----------------------------------------------------------------------------------------------------


def test_upgrade_command(serve, tmp_path):
    path = tmp_path / "pid"
    server = serve("basic:app", "--keep-alive", "30", "--pid", str(path), workers=2)
    with Load(server.address, **LOAD) as load:
        for _ in range(2):
            load.wait_for(60)
            old = server.arbiter
            done = run("upgrade", "--pid", str(path))
            assert (done.returncode, done.stderr) == (0, "")
            assert done.stdout.endswith(f" has replaced process {old}\n")
            wait_until(lambda pid=old: not proc.alive(pid), "the end of the old arbiter, which is at its last step", 5)
            if old == server.pid:
                assert server.wait_exit() == 0
            server.go_on_as(int(done.stdout.split()[1]))
            wait_until(lambda: int(path.read_text()) == server.arbiter, "the pid file of the new arbiter")
            load.wait_for(60)
    load.tally.nothing_lost()


def test_upgrade_command_that_fails(serve, release):
    """A release that cannot be imported, and one that is not ready in time: the old server goes on by itself."""
    server = serve("live:app", workers=2, cwd=release.parent)
    before = server.worker_pids()
    good = release.read_text()
    with Load(server.address, **LOAD) as load:
        load.wait_for(60)
        release.write_text("raise RuntimeError('broken release')\n")
        done = run("upgrade", "--pid", str(server.pid))
        assert done.returncode == 1
        assert "the application could not be imported" in done.stderr and "the server goes on as before" in done.stderr
        release.write_text("import time\ntime.sleep(60)\n")
        done = run("upgrade", "--timeout", "1", "--pid", str(server.pid))
        assert done.returncode == 1 and "not ready in time" in done.stderr
        server.log.wait_for("the new arbiter is gone")
        assert server.worker_pids() == before
        load.wait_for(60)
        release.write_text(good)
        done = run("upgrade", "--pid", str(server.pid))
        assert done.returncode == 0, done.stderr
        assert server.wait_exit() == 0
        server.go_on_as(int(done.stdout.split()[1]))
        load.wait_for(60)
    load.tally.nothing_lost()


@pytest.mark.worker_types(SYNC)
def test_upgrade_command_and_a_control_socket_at_a_path(serve, tmp_path):
    """The path goes from one to the other."""
    path = tmp_path / "ctl"
    server = serve("basic:app", "--control-socket", str(path))
    new = start_new(server)
    done = run("upgrade", "--control-socket", str(path))
    assert done.returncode == 1 and "there is a new arbiter already" in done.stderr
    end_old(server, new)
    wait_until(path.exists, "the socket of the new arbiter")
    assert f"pid={new} " in run("status", "--control-socket", str(path)).stdout


@pytest.mark.worker_types(SYNC)
def test_the_upgrade_command_is_told_of_a_stop(serve, release):
    server = serve("live:app", cwd=release.parent)
    release.write_text("import time\ntime.sleep(60)\n")
    waiting = subprocess.Popen(
        [*command(), "upgrade", "--pid", str(server.pid)], cwd=APPS, stderr=subprocess.PIPE, text=True
    )
    server.log.wait_for("Starting a new arbiter")
    new = int(server.log.wait_for(r"arbiter=(\d+)")[1])
    server.kill(signal.SIGTERM)
    assert "stopped meanwhile" in waiting.communicate(timeout=20)[1]
    assert waiting.returncode == 1
    assert server.wait_exit() == 0
    os.kill(new, signal.SIGTERM)
    server.go_on_as(new)


# -- what goes from one to the other -----------------------------------------------------------------------------------


@pytest.mark.worker_types(SYNC)
def test_pid_files(serve, tmp_path):
    path, second = tmp_path / "pid", tmp_path / "pid.2"
    server = serve("basic:app", "--pid", str(path))
    new = start_new(server)
    assert int(path.read_text()) == server.pid
    assert int(second.read_text()) == new
    end_old(server, new)
    assert int(path.read_text()) == new
    assert not second.exists()
    # And back: a new one that leaves takes its own file with it.
    third = start_new(server)
    os.kill(third, signal.SIGTERM)
    server.log.wait_for("the new arbiter is gone")
    assert int(path.read_text()) == new
    assert not second.exists()
    server.stop()
    assert not path.exists()


@pytest.mark.worker_types(SYNC)
def test_a_pid_file_is_there_at_every_moment(serve, tmp_path):
    """Whatever reads it while one arbiter replaces the other finds one of the two."""
    path = tmp_path / "pid"
    server = serve("basic:app", "--pid", str(path))
    new = start_new(server)
    server.kill(signal.SIGTERM)
    seen = set()
    while proc.alive(new) and new not in seen:
        seen.add(int(path.read_text()))
    assert seen <= {server.pid, new}
    assert server.wait_exit() == 0
    server.go_on_as(new)


@pytest.mark.worker_types(SYNC)
def test_the_file_of_a_unix_socket_belongs_to_the_last(serve, tmp_path):
    path = tmp_path / "s"
    server = serve("basic:app", bind=[f"unix:{path}", f"{HOST}:0"], workers=1)
    new = start_new(server)
    os.kill(new, signal.SIGTERM)
    wait_until(lambda: not proc.alive(new), "the new arbiter's end")
    assert fetch(str(path)).status == 200, "the new one has taken the file along"
    end_old(server, start_new(server))
    assert [fetch(address).status for address in server.addresses] == [200, 200]
    server.stop()
    assert not path.exists()


@pytest.mark.worker_types(SYNC)
def test_the_end_of_a_new_arbiter_counts_before_another_is_asked_for(serve):
    """Both may be found in the same turn of the loop."""
    server = serve("basic:app", workers=1)
    new = start_new(server)
    server.kill(signal.SIGSTOP)
    os.kill(new, signal.SIGKILL)
    wait_until(lambda: not proc.alive(new), "the new arbiter's end")
    mark = server.log.mark()
    server.kill(signal.SIGUSR2)
    server.kill(signal.SIGCONT)
    another = int(server.log.wait_for(r"The new arbiter serves .*arbiter=(\d+)", since=mark, timeout=40)[1])
    assert another != new
    end_old(server, another)


@pytest.mark.worker_types(SYNC)
def test_addresses_follow_the_new_configuration(serve, tmp_path):
    """What both want is handed over, what is new is opened, and what is gone is closed."""
    config = tmp_path / "conf.py"
    one, two, three = (tmp_path / name for name in ("one", "two", "three"))
    config.write_text(f"bind = ['unix:{one}', 'unix:{two}']\n")
    server = serve("basic:app", "-c", str(config), bind=None)
    config.write_text(f"bind = ['unix:{three}', 'unix:{two}']\n")
    end_old(server, start_new(server))
    assert [fetch(str(path)).status for path in (two, three)] == [200, 200]
    with pytest.raises(OSError, match=r"refused|No such file"):
        fetch(str(one))


@pytest.mark.worker_types(SYNC)
def test_an_inherited_socket_is_handed_on(serve):
    with socket.create_server((HOST, 0), backlog=64) as listener:
        server = serve("basic:app", bind=f"fd://{listener.fileno()}", pass_fds=[listener.fileno()])
        end_old(server, start_new(server))
        assert server.fetch().status == 200


@pytest.mark.worker_types(SYNC)
def test_the_command_is_executed_anew(serve, tmp_path):
    """The new arbiter is what the script is by then, with the environment and in the folder of the start."""
    script = tmp_path / "start"
    source = f"#!{sys.executable}\nimport os, sys\nsys.argv.pop(0)\nfrom asteri.cli import main\n"
    script.write_text(source + "main()\n")
    script.chmod(0o755)
    (tmp_path / "elsewhere").mkdir()
    server = serve(
        "basic:app",
        "--chdir",
        str(APPS),
        wrapper=[str(script)],
        cwd=tmp_path,
        env={"OF_THE_START": "yes", "LISTEN_PID": "1", "LISTEN_FDS": "1"},
    )
    script.write_text(source + "print('a second version in', os.getcwd(), file=sys.stderr, flush=True)\nmain()\n")
    new = start_new(server)
    server.log.wait_for(f"a second version in {tmp_path}")
    end_old(server, new)
    assert server.fetch("GET", "/environment?name=OF_THE_START").text == "'yes'"
    for name in ("GUNICORN_PID", "GUNICORN_FD", "ASTERI_LISTENERS", "ASTERI_NEWS_FD", "LISTEN_FDS"):
        assert server.fetch("GET", f"/environment?name={name}").text == "None", "workers are not told"


@pytest.mark.worker_types(SYNC)
def test_pre_exec(serve, tmp_path):
    """In the new process, before it executes the command; one that raises keeps it from doing so."""
    config, seen = tmp_path / "conf.py", tmp_path / "seen"
    config.write_text(f"import os\ndef pre_exec(server):\n    open({str(seen)!r}, 'a').write(f'{{os.getpid()}}\\n')\n")
    server = serve("basic:app", "-c", str(config))
    new = start_new(server)
    assert seen.read_text() == f"{new}\n"
    end_old(server, new)
    config.write_text("def pre_exec(server):\n    raise RuntimeError('not today')\n")
    server.kill(signal.SIGHUP)
    server.log.wait_for("Reload complete")
    server.kill(signal.SIGUSR2)
    server.log.wait_for("Upgrade failed, this server goes on")
    server.log.wait_for("RuntimeError: not today")
    assert server.fetch().status == 200


@pytest.mark.worker_types(SYNC)
def test_only_one_new_arbiter_at_a_time(serve):
    server = serve("basic:app")
    new = start_new(server)
    server.kill(signal.SIGUSR2)
    server.log.wait_for("no new arbiter is started reason=.*there is a new arbiter already")
    os.kill(new, signal.SIGUSR2)
    server.log.wait_for("no new arbiter is started reason=.*has not yet replaced")
    end_old(server, new)


@pytest.mark.worker_types(SYNC)
def test_winch_of_a_terminal_does_nothing(serve):
    server = serve("basic:app", "--log-level", "debug")
    before = server.worker_pids()
    server.kill(signal.SIGWINCH)
    server.log.wait_for("WINCH is for servers in the background")
    assert server.worker_pids() == before


@pytest.mark.worker_types(SYNC)
def test_a_quick_stop_of_the_old_arbiter_leaves_the_new_one(serve):
    server = serve("basic:app")
    new = start_new(server)
    server.kill(signal.SIGQUIT)
    assert server.wait_exit() == 0
    server.go_on_as(new)
    assert server.fetch().status == 200


@pytest.mark.worker_types(SYNC)
def test_upgrades_among_reloads_and_scaling(serve):
    server = serve("basic:app", "--keep-alive", "30", "--max-requests", "150", workers=2)
    dice = random.Random(7)
    with Load(server.address, **LOAD) as load:
        for _ in range(3):
            for _ in range(4):
                server.kill(dice.choice([signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1]))
                time.sleep(dice.uniform(0.02, 0.2))
            new = start_new(server)
            os.kill(new, signal.SIGHUP)
            end_old(server, new)
        load.wait_for(50)
    load.tally.nothing_lost()
