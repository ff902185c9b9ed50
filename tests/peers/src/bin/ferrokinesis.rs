//! ferrokinesis on a free loopback port, which it prints; `--enforce-limits` makes it throttle.

use ferrokinesis::create_app;
use ferrokinesis::store::StoreOptions;

const STATE_CHANGE_MS: u64 = 50;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let options = StoreOptions {
        create_stream_ms: STATE_CHANGE_MS,
        delete_stream_ms: STATE_CHANGE_MS,
        update_stream_ms: STATE_CHANGE_MS,
        shard_limit: 1000,
        enforce_limits: std::env::args().any(|argument| argument == "--enforce-limits"),
        ..StoreOptions::default()
    };
    let (app, _store) = create_app(options);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(listener, app).await
}
