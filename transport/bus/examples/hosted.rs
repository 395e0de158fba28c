//! A bus inside glommio executors that the embedder owns: its shards are tasks beside others.
//!
//! `cargo run -p ringseal --example hosted`

use std::error::Error;
use std::thread;
use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement};
use ringseal::{Auth, Config, Flow, FrameView, Handler, Link, Mesh, ReplicaId, Roster, Shard};

/// Sends every frame back to where it came from.
struct Echo;

impl Handler for Echo {
    fn on_frame(&mut self, link: &mut Link<'_>, frame: FrameView<'_>) -> Flow {
        let _ = link.forward(link.peer(), frame);
        Flow::Continue
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let roster = Roster::new([(ReplicaId::new(0), "127.0.0.1:0".parse()?)])?;
    let config = Config::new("example", ReplicaId::new(0), roster, Auth::Off)?.with_shards(2)?;
    let (mesh, shards) = Mesh::new(config)?;
    let threads: Vec<_> = shards.into_iter().map(|shard| thread::spawn(|| host(shard))).collect();
    while mesh.metrics().shards_listening < threads.len() {
        thread::yield_now();
    }
    println!("{} shards listen on {}", threads.len(), mesh.local_addr());
    mesh.stop(Duration::from_secs(1));
    threads.into_iter().for_each(|thread| thread.join().expect("the executor's thread is well"));
    Ok(())
}

fn host(shard: Shard) {
    let executor =
        LocalExecutorBuilder::new(Placement::Unbound).io_memory(64 << 10).ring_depth(128);
    // A wake-up from another thread waits for the preempt timer when the executor is busy.
    let executor = executor.preempt_timer(Duration::from_millis(1)).make();
    executor.expect("io_uring is available").run(async {
        let other_work = glommio::spawn_local(async { println!("the embedder's own task runs") });
        shard.run(Echo).await;
        other_work.await;
    });
}
