import time

import grpc
import pytest
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from echo_services.server import own_address
from tests.echo_services.calls import (
    SERVICE,
    ask,
    becomes_healthy,
    channel_to,
    health_of,
    status_name,
    watch,
)
from tests.echo_services.programs import eventually


def test_it_says_hello_its_address_and_its_version(server):
    with channel_to(server) as channel:
        answer = ask(channel, "Yizumi").result()

    assert answer.message == "Hello, Yizumi-san! (Said 127.0.0.1, Version 1.0)"


def test_it_sends_its_version_with_the_answer(start_server):
    with channel_to(start_server(VERSION="0.9-rc.1+a")) as channel:
        call = ask(channel)

        assert "Version 0.9-rc.1+a" in call.result().message
        assert ("x-version", "0.9-rc.1+a") in call.trailing_metadata()


def test_it_prints_two_lines_when_it_starts(server):
    eventually(lambda: server.printed.count("\n") == 2, "two lines are printed")

    assert server.printed == (
        f"Echo Server Version 1.0\nStarting on port: {server.port}, ssl: false\n"
    )


def test_it_logs_no_requests_unless_told(server, start_server):
    told = start_server(LOG_LEVEL="DEBUG")
    for program in (server, told):
        with channel_to(program) as channel:
            ask(channel).result()

    assert server.complained == ""
    assert told.complained.count("DEBUG echo_services.server Echo from ipv4:127.0.0.1:") == 1


@pytest.mark.parametrize("service", ["", SERVICE])
def test_its_health_is_serving_by_service_and_overall(server, service):
    with channel_to(server) as channel:
        becomes_healthy(channel, service)


def test_its_health_knows_no_other_service(server):
    with channel_to(server) as channel, pytest.raises(grpc.RpcError) as failed:
        health_of(channel, "proto.echo.Other")

    assert failed.value.code() == grpc.StatusCode.NOT_FOUND


def test_it_lists_its_services(server):
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    with channel_to(server) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        answer = next(stub.ServerReflectionInfo(iter([request])))

    assert SERVICE in {service.name for service in answer.list_services_response.service}


def test_asked_to_stop_it_turns_unhealthy_finishes_what_runs_and_ends_well(start_server):
    server = start_server(LATENCY_MS="1000", LOG_LEVEL="DEBUG", GRACE_SECONDS="10")
    with channel_to(server) as channel:
        becomes_healthy(channel)
        statuses = watch(channel)
        assert status_name(next(statuses)) == "SERVING"
        call = ask(channel)
        eventually(lambda: "Echo from" in server.complained, "the request runs")

        server.ask_to_stop()

        assert status_name(next(statuses)) == "NOT_SERVING"
        assert not call.done()
        assert call.result().message.startswith("Hello, Yizumi-san!")
        asked = time.monotonic()
        assert server.wait_for_end() == 0
        # The open Watch stream would have held a plain stop for all of the grace period.
        assert time.monotonic() - asked < 5


def test_what_outlasts_the_grace_period_is_cut_off(start_server):
    server = start_server(LATENCY_MS="60000", LOG_LEVEL="DEBUG", GRACE_SECONDS="0.2")
    with channel_to(server) as channel:
        call = ask(channel)
        eventually(lambda: "Echo from" in server.complained, "the request runs")

        server.ask_to_stop()

        assert call.exception().code() in {
            grpc.StatusCode.UNAVAILABLE,
            grpc.StatusCode.CANCELLED,
        }
    assert server.wait_for_end() == 0
    assert "1 requests were still running after 0.2 s" in server.complained
    assert "Traceback" not in server.complained


def test_a_second_server_on_the_port_fails_with_one_sentence(server, start_anything):
    second = start_anything("echo_services.server", PORT=str(server.port))

    assert second.wait_for_end() == 1
    assert second.complained == f"Cannot listen on {server.address}: Address already in use.\n"
    assert second.printed == ""


def test_a_server_on_one_address_names_it():
    assert own_address("127.0.0.2") == "127.0.0.2"


def test_a_server_on_every_address_names_one_that_callers_can_reach():
    assert own_address("0.0.0.0") != "0.0.0.0"
