//! The target `chain` for libFuzzer.
#![no_main]

asyncio_agent_fuzz::fuzz!("chain");
