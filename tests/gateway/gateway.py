#!/usr/bin/env python3
"""Two servers behind smg: what is lost when one of them dies, and what when one is told to end.

Needs nothing but Python and the two programs that it is given.
"""

import argparse
import json
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "torture"))
from load import Load, ask
from processes import DRAIN_DELAY, Gateway, Server, free_ports, until
from report import Report

# Conversations, and turns of each. All fit into the prefix caches of one server.
CONVERSATIONS, TURNS = 6, 4


def talk(gateway, number, turns):
    """A conversation; of each turn the server, the tokens of its prompt and how many were known."""
    said, seen = [], []
    for turn in range(turns):
        said.append({"role": "user", "content": f"{number}: question {turn} of this conversation, " * 6})
        answer = ask(gateway.port, "/v1/chat/completions", False, said, 16)
        if not answer.complete:
            raise RuntimeError(f"a turn failed: {answer}")
        whole = json.loads(answer.body)
        said.append(whole["choices"][0]["message"])
        usage = whole["usage"]
        seen.append((answer.server, usage["prompt_tokens"], usage["prompt_tokens_details"]["cached_tokens"]))
    return seen


def conversations(report, gateway, servers):
    """Each conversation stays where its prefix is, and what it said before is not read again."""
    all_seen = [None] * CONVERSATIONS

    def run(number):
        all_seen[number] = talk(gateway, number, TURNS)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(CONVERSATIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    report.check("every conversation was answered to its end", all(all_seen))
    if not all(all_seen):
        return
    homes = [{server for server, _, _ in seen} for seen in all_seen]
    report.check("a conversation stays on its server", all(len(home) == 1 for home in homes), f"{homes}"[:100])
    used = {url for home in homes for url in home}
    # Conversations that begin at the same moment may all find the same server idle.
    for number in range(CONVERSATIONS, 4 * CONVERSATIONS):
        if len(used) == len(servers):
            break
        used.add(talk(gateway, number, 1)[0][0])
    report.check("both servers have conversations", used == {server.url for server in servers})
    again = [(before[1], now[2]) for seen in all_seen for before, now in zip(seen, seen[1:])]
    # All of the turn before but its last tokens, which begin the answer.
    known = all(cached >= prompt - 24 for prompt, cached in again)
    report.check("the turns before are not read again", known, f"prompt before, known now: {again[:3]}")
    reused = sum(server.metric("card_prompt_tokens_reused_total") for server in servers)
    prompts = sum(server.metric("card_prompt_tokens_total") for server in servers)
    report.check("the servers' metrics say so", reused >= 0.5 * prompts, f"{reused:.0f} of {prompts:.0f} tokens")


def counted(outcomes):
    complete = sum(outcome.complete for outcome in outcomes)
    slowest = max(outcome.seconds for outcome in outcomes)
    return f"{len(outcomes)} requests, {complete} whole, the slowest {slowest:.1f} s"


def nothing_lost(report, outcomes):
    """Who had no answer yet got a whole one, and who had the beginning of one heard of its end."""
    begun = [outcome for outcome in outcomes if outcome.stream and outcome.status == 200]
    others = [outcome for outcome in outcomes if not (outcome.stream and outcome.status == 200)]
    lost = [outcome for outcome in others if not outcome.complete]
    report.check("no request that had no answer yet is lost", not lost, counted(outcomes))
    silent = [outcome for outcome in begun if not outcome.complete and not outcome.error]
    report.check("no stream ends without a word", not silent)
    for outcome in [*lost, *silent][:5]:
        report.note("", str(outcome))
    return [outcome for outcome in begun if outcome.error]


def back(report, gateway, server, seconds):
    """A server that was started again is asked again."""
    server.start()
    gateway.until_healthy(2)
    until(lambda: server.generations() > 3, seconds, "traffic for the server that came back")
    report.check("traffic comes back", True, f"{server.generations():.0f} answers")


def killed(report, gateway, server, args):
    """A server is killed under load."""
    load = Load(gateway.port, args.threads)
    until(lambda: load.follows(server) >= 1 and server.health()[1].get("running", 0) >= 3, 20, "load on the server")
    known = until(gateway.running, 20, "the gateway's word of what runs")
    report.check("the gateway hears what there is to do", known > 0, f"{known} at work")
    time.sleep(args.seconds / 3)
    before = gateway.retries()
    # A stream may end in the moment before its server is killed; then none is broken.
    for _ in range(5):
        until(lambda: load.follows(server) >= 1, 20, "a stream of the server")
        server.kill()
        gateway.until_healthy(1)
        time.sleep(args.seconds / 3)
        back(report, gateway, server, 20)
        if load.has_broken():
            break
    time.sleep(args.seconds / 3)
    outcomes = load.stop()
    broken = nothing_lost(report, outcomes)
    words = broken[0].error if broken else ""
    report.check("streams of the server say that they failed", bool(broken), f"{len(broken)}: {words}"[:160])
    report.check("requests were sent again", gateway.retries() > before, f"{gateway.retries() - before:.0f} times")


def told_to_end(report, gateway, server, args):
    """A server is told to end under load: as in an update, nothing at all is lost."""
    load = Load(gateway.port, args.threads)
    until(lambda: load.follows(server) >= 1, 20, "a stream of the server")
    time.sleep(args.seconds / 3)
    server.leave()
    until(lambda: server.health()[1].get("status") == "draining", 5, "the server's word that it leaves")
    report.check("readiness is 503 while it still takes requests", server.health()[0] == 503)
    gateway.until_healthy(1)
    status = server.process.child.wait(DRAIN_DELAY + 40)
    report.check("it ends with status 0 when what ran is done", status == 0, f"status {status}")
    time.sleep(args.seconds / 3)
    back(report, gateway, server, 20)
    outcomes = load.stop()
    broken = nothing_lost(report, outcomes)
    for outcome in broken[:5]:
        report.note("", str(outcome))
    report.check("no stream failed", not broken, f"{len(broken)} did")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True, help="the synthetic server")
    parser.add_argument("--smg", required=True, help="the gateway's program")
    parser.add_argument("--short", action="store_true", help="what CI runs: less load, for seconds")
    parser.add_argument("--seconds", type=float, help="about how long each kind of end lasts [3; 60 without --short]")
    parser.add_argument("--threads", type=int, help="requests at a time [9; 24 without --short]")
    args = parser.parse_args()
    args.seconds = args.seconds or (3 if args.short else 60)
    args.threads = args.threads or (9 if args.short else 24)
    report, servers, gateway = Report(), [], None
    try:
        for port in free_ports(2):
            servers.append(Server(args.server, port))
        gateway = Gateway(args.smg, servers)
        conversations(report, gateway, servers)
        killed(report, gateway, servers[0], args)
        told_to_end(report, gateway, servers[1], args)
    finally:
        for process in [gateway.process if gateway else None, *(server.process for server in servers)]:
            if process:
                process.stop()
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
