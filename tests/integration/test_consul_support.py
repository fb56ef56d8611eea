"""The agents that all other integration tests stand on: they start, die, come back, hang and deny as real ones do."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ConsulKind, StartConsul
from tests.support.consul import (
    Admin,
    Cluster,
    ConsulAgent,
    ConsulContainer,
    ConsulError,
    ConsulProcess,
    Options,
    StartFailed,
    ttl_check,
)
from tests.support.processes import spawn


def test_restart_keeps_data(any_consul: ConsulAgent) -> None:
    admin = any_consul.admin
    admin.put("k", b"v")
    admin.register("orders", 8001, weights=(10, 3), checks=[ttl_check("orders-ttl")])
    before = admin.get("k")
    any_consul.restart()
    assert admin.get("k") == before
    assert [row.service_id for row in admin.health("orders")] == ["orders-8001"]


def test_killed_agent_refuses_and_starts_again(any_consul: ConsulAgent) -> None:
    any_consul.kill()
    with pytest.raises(ConsulError, match="refused"):
        any_consul.admin.leader()
    any_consul.start()
    assert any_consul.admin.leader()


def test_stop_keeps_data(any_consul: ConsulAgent) -> None:
    any_consul.admin.put("k", b"v")
    any_consul.stop()
    any_consul.start()
    assert any_consul.admin.get("k") is not None


def test_paused_agent_accepts_and_does_not_answer(any_consul: ConsulAgent) -> None:
    hasty = Admin(any_consul.http_addr, timeout=0.3)
    any_consul.pause()
    with pytest.raises(ConsulError, match="timed out"):
        hasty.leader()
    any_consul.unpause()
    any_consul.wait_ready()


def test_paused_agent_can_be_killed(any_consul: ConsulAgent) -> None:
    any_consul.pause()
    any_consul.restart()
    assert any_consul.admin.leader()


def test_dev_agent_forgets(start_consul: StartConsul, consul_kind: ConsulKind) -> None:
    agent = start_consul(Options(), consul_kind)
    agent.admin.put("k", b"v")
    agent.restart()
    assert agent.admin.get("k") is None


def test_health_weights_and_maintenance(shared_consul: ConsulAgent, unique: str) -> None:
    admin = shared_consul.admin
    service_id = admin.register(unique, 8001, weights=(10, 1), tags=["stable"], checks=[ttl_check(unique)])
    (row,) = admin.health(unique)
    assert (row.address, row.port, row.weights, row.statuses[unique]) == ("127.0.0.1", 8001, (10, 1), "passing")
    admin.set_check(unique, "warning")
    admin.maintain(service_id)
    (row,) = admin.health(unique)
    assert row.statuses[unique] == "warning"
    assert row.statuses[f"_service_maintenance:{service_id}"] == "critical"
    admin.deregister(service_id)
    assert admin.health(unique) == []
    assert unique not in admin.services()


def test_keys(shared_consul: ConsulAgent, unique: str) -> None:
    admin = shared_consul.admin
    admin.put(f"{unique}/a", {"x": [1]})
    admin.put(f"{unique}/b", "text")
    assert admin.keys(unique) == [f"{unique}/a", f"{unique}/b"]
    entry = admin.get(f"{unique}/a")
    assert entry is not None
    assert entry.value == b'{"x": [1]}'
    admin.delete(unique, recurse=True)
    assert admin.keys(unique) == []


def test_acl_denies_by_default(start_consul: StartConsul, consul_kind: ConsulKind) -> None:
    agent = start_consul(Options(acl=True), consul_kind)
    agent.admin.put("free/k", b"v")
    agent.admin.create_policy("reader", 'key_prefix "free/" { policy = "read" }')
    token = agent.admin.create_token("reader")
    reader, nobody = Admin(agent.http_addr, token.secret), Admin(agent.http_addr)
    assert reader.get("free/k") is not None
    with pytest.raises(ConsulError, match="403"):
        reader.put("free/k", b"")
    with pytest.raises(ConsulError, match="403"):
        reader.get("other")
    with pytest.raises(ConsulError, match="403"):
        nobody.get("free/k")
    agent.admin.delete_token(token)
    with pytest.raises(ConsulError, match="403"):
        reader.get("free/k")


def test_acl_token_survives_restart(acl_consul: ConsulAgent) -> None:
    acl_consul.admin.put("k", b"v")
    acl_consul.restart()
    assert acl_consul.admin.get("k") is not None


def test_tls_demands_a_client_certificate(tls_consul: ConsulAgent) -> None:
    assert tls_consul.http_addr.startswith("https://")
    assert tls_consul.admin.leader()
    with pytest.raises(ConsulError, match=r"(?i)certificate"):
        Admin(tls_consul.http_addr).leader()


def test_limits_are_in_force(start_consul: StartConsul) -> None:
    agent = start_consul(Options(limits={"http_max_conns_per_client": 7}))
    answer = agent.admin.read("agent/self")
    assert '"HTTPMaxConnsPerClient": 7' in str(answer).replace("'", '"')


def test_cluster_elects_another_leader(consul_cluster: Cluster) -> None:
    consul_cluster.client.admin.put("k", b"v")
    lost = consul_cluster.leader()
    lost.kill()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            consul_cluster.client.admin.put("k", b"w")
            break
        except ConsulError:
            time.sleep(0.05)
    entry = consul_cluster.client.admin.get("k")
    assert entry is not None
    assert entry.value == b"w"
    assert consul_cluster.leader() is not lost


def test_failed_start_tells_the_log() -> None:
    with pytest.raises(StartFailed, match=r"(?i)no_such_key"), ConsulProcess(Options(extra={"no_such_key": 1})):
        pass


@pytest.mark.container
@pytest.mark.usefixtures("docker_engine")
def test_failed_start_of_a_container_tells_the_log() -> None:
    with pytest.raises(StartFailed, match=r"(?i)no_such_key"), ConsulContainer(Options(extra={"no_such_key": 1})):
        pass


def test_children_die_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        "from tests.support.processes import spawn\n"
        "import os, signal\n"
        "child = spawn(['sleep', '600'])\n"
        "print(child.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    root = Path(__file__).parents[2]
    parent = spawn([sys.executable, script], output=subprocess.PIPE, env={"PYTHONPATH": str(root)})
    output, _ = parent.communicate(timeout=10)
    stat = Path(f"/proc/{int(output)}/stat")
    deadline = time.monotonic() + 5
    while stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.01)
