"""async_kinesis_read.py ENDPOINT STREAM COUNT: prints so many records, as async-kinesis reads them."""

import asyncio
import sys

from kinesis import Consumer
from kinesis.processors import KPLStringProcessor

import streams


async def main(endpoint, stream, count):
    consumer = Consumer(
        stream,
        endpoint_url=endpoint,
        region_name=streams.REGION,
        processor=KPLStringProcessor(),
        sleep_time_no_records=0.1,
    )
    async with consumer:
        while count:
            # It ends whenever nothing came for a while.
            async for record in consumer:
                print(record)
                count -= 1
                if not count:
                    break


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
