"""Recordings: their forms, and what a replay says of good and broken ones."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from tests.unit.ticks.decoders import GOOD
from typer.testing import CliRunner

from coinswarm.cli import app
from coinswarm.errors import UserError
from coinswarm.ticks.captures import Captured, channel_of, read_frames

pytestmark = pytest.mark.unit

TRADE = (
    '{{"stream":"btcusdt@trade","data":{{"e":"trade","E":1770000000100,"s":"BTCUSDT","t":{0},"p":"70000.10",'
    '"q":"0.5","T":1770000000100,"m":true,"M":true}}}}'
)


def _file(folder: Path, *lines: str, packed: bool = False) -> Path:
    text = "".join(f"{line}\n" for line in lines).encode()
    path = folder / ("frames.gz" if packed else "frames.txt")
    path.write_bytes(gzip.compress(text) if packed else text)
    return path


@pytest.mark.parametrize("packed", [False, True])
def test_read_frames_when_lines_have_any_of_the_forms_then_times_and_messages_come_out(
    tmp_path: Path, packed: bool
) -> None:
    path = _file(
        tmp_path,
        'wss://ws.example <- 1618678132.83: {"event":"subscribe"}',
        '1723161253937085768 {"a":1}',
        '1618678132.8314: {"b":2}',
        '{"c":3}',
        "[4]",
        json.dumps({"test": "trade", "raw": '{"d":5}'}),
        "",
        packed=packed,
    )
    assert list(read_frames(path)) == [
        Captured(1_723_161_253_937_085_768, b'{"a":1}'),
        Captured(1_618_678_132_831_400_000, b'{"b":2}'),
        Captured(0, b'{"c":3}'),
        Captured(0, b"[4]"),
        Captured(0, b'{"d":5}'),
    ]


@pytest.mark.parametrize("line", ["hello", "12x {}", "1.2.3: {}", ": {}"])
def test_read_frames_when_a_line_has_no_form_then_the_error_names_it(tmp_path: Path, line: str) -> None:
    with pytest.raises(UserError, match=r"frames\.txt line 2"):
        list(read_frames(_file(tmp_path, "{}", line)))


def test_read_frames_when_the_file_is_cut_or_missing_then_it_is_a_user_error(tmp_path: Path) -> None:
    path = _file(tmp_path, "{}" * 5000, packed=True)
    path.write_bytes(path.read_bytes()[:-12])
    for broken in (path, tmp_path / "nowhere"):
        with pytest.raises(UserError, match="cannot read"):
            list(read_frames(broken))


def test_replay_when_trades_are_missing_or_repeated_then_it_says_how_many(tmp_path: Path) -> None:
    path = _file(tmp_path, *(TRADE.format(number) for number in (10, 11, 11, 15, 16)))
    done = CliRunner().invoke(app, ["ticks", "replay", "binance_spot", str(path)])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert found["events"] == {"trades": 5}
    assert found["trades_missing"] == {"BTCUSDT": 3}
    assert found["trades_repeated"] == 1
    assert found["gaps"] == [{"symbol": "BTCUSDT", "first_missing": 12, "last_missing": 14}]
    assert found["channels"] == {"trade": 5}
    assert found["trades"]["BTCUSDT"]["last"]["id"] == "16"


def test_replay_when_a_trade_comes_late_then_the_gap_is_closed_and_was_still_counted(tmp_path: Path) -> None:
    path = _file(tmp_path, *(TRADE.format(number) for number in (10, 12, 11)))
    found = json.loads(CliRunner().invoke(app, ["ticks", "replay", "binance_spot", str(path)]).stdout)
    assert (found["gaps"], found["trades_missing"]) == ([], {"BTCUSDT": 1})


def test_replay_when_an_update_is_missing_then_its_chain_breaks_with_or_without_a_snapshot(tmp_path: Path) -> None:
    depth = (
        '{{"stream":"btcusdt@depth@100ms","data":{{"E":1770000000000,"s":"BTCUSDT","U":{0},"u":{0},"b":[],"a":[]}}}}'
    )
    snapshot = '{"lastUpdateId":10,"bids":[["1","1"]],"asks":[["2","1"]]}'
    for more, resync in (((), 0), ((snapshot,), 1)):
        path = _file(tmp_path, *(depth.format(number) for number in (10, 11, 13, 14)), *more)
        found = json.loads(CliRunner().invoke(app, ["ticks", "replay", "binance_spot", str(path)]).stdout)
        assert found["book_chain_breaks"] == 1
        assert found["book_updates"]["resync"] == resync


@pytest.mark.parametrize(
    ("frame", "channel"),
    [
        (b'{"stream":"btcusdt@depth@100ms","data":{}}', "depth"),
        (b'{"stream":"!markPrice@arr@1s","data":[]}', "markPrice"),
        (b'{"topic":"orderbook.50.BTCUSDT","type":"delta","data":{}}', "orderbook/delta"),
        (b'{"arg":{"channel":"books","instId":"X"},"action":"update","data":[]}', "books/update"),
        (b'{"arg":{"channel":"books","instId":"X"},"event":"subscribe"}', "event:subscribe"),
        (b'{"method":"subscription","params":{"channel":"trades.BTC-PERPETUAL.100ms"}}', "trades"),
        (b'{"event":"subscribed","feed":"book","product_ids":["PI_XBTUSD"]}', "book"),
        (b'{"channel":"l2_data","events":[]}', "l2_data"),
        (b'{"type":"l2update"}', "l2update"),
        (b'[1,{"a":[]},"book-10","XBT/USD"]', "book-10"),
        (b"[1,2]", "list"),
        (b"[1,2,3,4]", "list"),
        (b'{"jsonrpc":"2.0","id":1,"result":[]}', "rpc_result"),
        (b'{"stream":7,"topic":[],"params":1,"arg":2}', "event:"),
        (b'{"arg":{},"data":[]}', "other"),
        (b"{}", "other"),
        (b"pong", "pong"),
        (b"{", "unreadable"),
        (b"\xff", "unreadable"),
        (b"[" * 100_000, "unreadable"),
        (b"7", "unreadable"),
    ],
)
def test_channel_of_a_message_is_what_its_venue_calls_it(frame: bytes, channel: str) -> None:
    assert channel_of(frame) == channel


def test_replay_when_a_frame_is_malformed_then_the_rest_is_read_and_the_exit_code_says_so(tmp_path: Path) -> None:
    path = _file(tmp_path, TRADE.format(10), TRADE.format(11)[:-20] + "}", TRADE.format(12))
    done = CliRunner().invoke(app, ["ticks", "replay", "binance_spot", str(path)])
    assert done.exit_code == 3
    found = json.loads(done.stdout.splitlines()[0])
    assert (found["messages"], found["malformed"]["count"]) == (3, 1)
    assert found["trades_missing"] == {"BTCUSDT": 1}


@pytest.mark.parametrize(
    ("name", "retired"), [("bybit_linear", "bybit_v2"), ("coinbase", "coinbase_exchange"), ("kraken", "kraken_v1")]
)
def test_replay_when_the_venue_has_retired_the_protocol_then_it_is_known_by_its_frames(
    tmp_path: Path, name: str, retired: str
) -> None:
    for spoken in (name, retired):
        path = _file(tmp_path, *(frame.decode() for frame in GOOD[spoken]))
        found = json.loads(CliRunner().invoke(app, ["ticks", "replay", name, str(path)]).stdout.splitlines()[0])
        assert (found["protocol"], found["malformed"]["count"]) == (spoken, 0)


@pytest.mark.parametrize("arguments", [["nobody"], ["binance_spot", "--speed", "warp"]])
def test_replay_when_venue_or_speed_is_unknown_then_it_lists_what_there_is(
    tmp_path: Path, arguments: list[str]
) -> None:
    path = _file(tmp_path, "{}")
    done = CliRunner().invoke(app, ["ticks", "replay", arguments[0], str(path), *arguments[1:]])
    assert isinstance(done.exception, UserError)
    assert "binance_spot" in str(done.exception) or "original" in str(done.exception)
