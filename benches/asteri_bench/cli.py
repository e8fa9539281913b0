"""The command: reads what is wanted, prepares, measures in interleaved rounds, reports."""

from __future__ import annotations

import argparse
import os
import resource
import shlex
import signal
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

from asteri_bench import environment, machine, paths, report, results, scenarios, selftest
from asteri_bench.environment import Environment, say
from asteri_bench.goals import ASTERI
from asteri_bench.measure import Bench
from asteri_bench.results import Results, Sample
from asteri_bench.scenarios import BY_NAME as SCENARIOS
from asteri_bench.servers import BY_NAME, SERVERS, Kind, Server

# Enough for the scenario with the most connections on either side.
_DESCRIPTORS = 65536
# The size of a hello answer when asteri is not there to say what its own is.
_HELLO_WIRE_BYTES = 140


def main(argv: list[str]) -> int:
    options = _parse(argv)
    if options.list:
        return _list()
    if options.load is not None:
        _write(report.render(results.load(options.load), options.baseline), options.markdown)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    _raise_descriptor_limit()
    scenarios.write_material()
    cores = machine.choose_cores(options.server_core, options.client_core)
    if cores.shared:
        say("benches/run: only one core: server and load share it, and the figures mean little")
    if options.selftest:
        return selftest.run(cores)
    if not options.no_install:
        environment.install_debian_packages()
    servers = [BY_NAME[name] for name in options.server]
    made = environment.prepare(
        environment.find_python(options.python),
        servers,
        build=not options.no_install,
        asteri=options.asteri,
    )
    return _measure(options, servers, made, cores, shlex.join(["benches/run", *argv]))


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benches/run", description="Measures Asteri and its peers side by side.")
    names, server_names = scenarios.NAMES, list(BY_NAME)
    parser.add_argument("--scenario", action="append", metavar="NAME", help="only this one; repeat, or commas")
    parser.add_argument("--server", action="append", metavar="NAME", help="only this one; repeat, or commas")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds, each server once in each [3]")
    parser.add_argument("--seconds", type=int, metavar="N", help="length of a sample [3]")
    parser.add_argument("--quick", action="store_true", help="1 round, 1 s, 1,000 idle connections")
    parser.add_argument("--idle-connections", type=int, metavar="N", help="idle connections [5000]")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the page there too")
    parser.add_argument(
        "--baseline",
        default=ASTERI,
        choices=server_names,
        metavar="NAME",
        help="ratios are server ÷ this one [asteri]",
    )
    parser.add_argument("--asteri", type=Path, metavar="PATH", help="measure this executable")
    parser.add_argument(
        "--python",
        default=os.environ.get("PYTHON"),
        metavar="PATH",
        help="the interpreter that is measured [PYTHON, or 3.13, or the newest]",
    )
    parser.add_argument("--no-install", action="store_true", help="neither install nor build anything")
    parser.add_argument("--server-core", type=int, metavar="N", help="core of the server [chosen]")
    parser.add_argument("--client-core", type=int, metavar="N", help="core of the load [chosen]")
    parser.add_argument("--load", type=Path, metavar="FILE", help="report on earlier results (JSON)")
    parser.add_argument("--list", action="store_true", help="list scenarios and servers")
    parser.add_argument("--selftest", action="store_true", help="test the bench on the epoll server")
    options = parser.parse_args(argv)
    options.scenario = _chosen(parser, "--scenario", options.scenario, list(names))
    options.server = _chosen(parser, "--server", options.server, server_names)
    options.rounds = _positive(parser, "--rounds", options.rounds, 1 if options.quick else 3)
    options.seconds = _positive(parser, "--seconds", options.seconds, 1 if options.quick else 3)
    options.idle_connections = _positive(
        parser, "--idle-connections", options.idle_connections, 1000 if options.quick else 5000
    )
    return options


def _chosen(parser: argparse.ArgumentParser, flag: str, given: list[str] | None, known: list[str]) -> list[str]:
    """In the order of the table, whatever order was asked for."""
    if given is None:
        return known
    asked = {name.strip() for group in given for name in group.split(",")}
    for name in asked - set(known):
        parser.error(f'{flag}: got "{name}", expected one of: {", ".join(known)}')
    return [name for name in known if name in asked]


def _positive(parser: argparse.ArgumentParser, flag: str, given: int | None, default: int) -> int:
    if given is not None and given < 1:
        parser.error(f"{flag}: got {given}, expected a whole number from 1 on")
    return default if given is None else given


def _list() -> int:
    for name in scenarios.NAMES:
        print(f"scenario  {name:10} {SCENARIOS[name].title if name in SCENARIOS else ''}".rstrip())
    for server in SERVERS:
        print(f"server    {server.name}")
    return 0


def _measure(
    options: argparse.Namespace,
    servers: list[Server],
    made: Environment,
    cores: machine.Cores,
    command: str,
) -> int:
    # From here on this process is a client, and so is what it starts, servers excepted.
    os.sched_setaffinity(0, {cores.client})
    bench = Bench(
        python=made.python,
        cores=cores,
        seconds=options.seconds,
        idle_connections=options.idle_connections,
        starts=3 if options.quick else 5,
        asteri=options.asteri.resolve() if options.asteri else None,
    )
    measured = Results(
        machine=machine.describe(made.python),
        date=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        command=command,
        rounds=options.rounds,
        seconds=options.seconds,
        shared_core=cores.shared,
        versions=made.versions,
        unavailable=made.unavailable,
        python_start_ms=_python_start_ms(made.python, cores),
    )
    available = [server for server in servers if server.name not in made.unavailable]
    output = paths.OUT / f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}.json"
    try:
        _rounds(bench, options.scenario, available, measured, output)
    except KeyboardInterrupt:
        say("interrupted; reporting what there is")
    _write(report.render(measured, options.baseline), options.markdown)
    say(f"raw results: {output.relative_to(paths.REPOSITORY)}")
    return 0


def _rounds(bench: Bench, names: list[str], servers: list[Server], measured: Results, output: Path) -> None:
    """In each round every scenario, in each scenario every server, in a rotated order."""
    rounds = measured.rounds
    hello_bytes = _HELLO_WIRE_BYTES
    asteri = next((server for server in servers if server.kind is Kind.OURS), None)
    if asteri is not None:
        probe = bench.probe(asteri)
        hello_bytes = probe if probe is not None else hello_bytes
    for number in range(rounds):
        for place, name in enumerate(names):
            turn = (number + place) % len(servers) if servers else 0
            for server in servers[turn:] + servers[:turn]:
                if server.kind is Kind.LIMIT and name in SCENARIOS and not SCENARIOS[name].has_limit:
                    continue
                sample = bench.sample(server, name, number, hello_bytes)
                measured.samples.append(sample)
                say(f"round {number + 1}/{rounds}  {name:8} {server.name:17} {_line(sample)}")
            # After every scenario, so that an interrupted run leaves what it has.
            measured.save(output)


def _line(sample: Sample) -> str:
    if sample.problem:
        return sample.problem
    if sample.start_ms is not None:
        return f"{sample.start_ms:.0f} ms"
    if sample.idle_bytes_each is not None:
        return f"{sample.idle_bytes_each:,.0f} bytes × {sample.idle_connections:,}"
    errors = f"  {sample.errors}" if sample.errors else ""
    return f"{sample.requests_per_second:9,.0f} req/s  {sample.cost:.3f} CPU-s/10k{errors}"


def _python_start_ms(python: Path, cores: machine.Cores) -> float:
    times = []
    with machine.pinned(cores.server):
        for _ in range(5):
            begun = time.perf_counter()
            subprocess.run([str(python), "-c", "pass"], check=True)
            times.append((time.perf_counter() - begun) * 1000)
    return median(times)


def _raise_descriptor_limit() -> None:
    """For this process and the servers, which inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _write(page: str, path: Path | None) -> None:
    print(page)
    if path is not None:
        path.write_text(page)
        say(f"written: {path}")
