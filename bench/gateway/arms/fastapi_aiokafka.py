"""What a team writes to take requests durably: FastAPI, aiokafka, `send_and_wait`, 202.

`fastapi_aiokafka.py PORT BOOTSTRAP TOPIC`; acknowledged by all replicas and idempotent, as ours.
"""

import contextlib
import sys
import uuid
from typing import Any

import orjson
import uvicorn
from aiokafka import AIOKafkaProducer
from fastapi import FastAPI
from fastapi.responses import ORJSONResponse
from pydantic import BaseModel

PORT, BOOTSTRAP, TOPIC = int(sys.argv[1]), sys.argv[2], sys.argv[3]


class Job(BaseModel):
    """What comes in; checked as any team would."""

    task: str
    model: str
    input: dict[str, Any]


@contextlib.asynccontextmanager
async def lifespan(app):
    producer = AIOKafkaProducer(
        bootstrap_servers=BOOTSTRAP, acks="all", enable_idempotence=True, linger_ms=0
    )
    await producer.start()
    app.state.producer = producer
    yield
    await producer.stop()


app = FastAPI(lifespan=lifespan)


@app.post("/v1/jobs", status_code=202, response_class=ORJSONResponse)
async def submit(job: Job):
    name = f"job_{uuid.uuid4().hex}"
    value = orjson.dumps({"id": name, **job.model_dump()})
    await app.state.producer.send_and_wait(TOPIC, value, key=name.encode())
    return {"id": name, "status": "queued"}


@app.get("/healthz")
async def health():
    return {}


if __name__ == "__main__":
    uvicorn.run(
        app, host="127.0.0.1", port=PORT, log_level="warning", access_log=False, loop="uvloop",
        http="httptools",
    )  # fmt: skip
