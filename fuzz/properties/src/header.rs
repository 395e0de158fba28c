//! Headers are read in place.

use ringseal_wire::{HEADER_LEN, Header, HeaderView};

/// Any 256 bytes are a header at any address, and its fields are all there is to it: a header built
/// from what the getters say has the same bytes.
///
/// Input: the bytes.
pub fn header(data: &[u8]) {
    let Some(view) = HeaderView::from_slice(data) else {
        assert!(data.len() < HEADER_LEN, "256 bytes are a header");
        return;
    };
    assert_eq!(view.as_bytes().as_slice(), &data[..HEADER_LEN]);

    let mut rebuilt = Header::new(view.command());
    rebuilt
        .set_checksum(view.checksum())
        .set_checksum_body(view.checksum_body())
        .set_cluster(view.cluster())
        .set_size(view.size())
        .set_view(view.view())
        .set_release(view.release())
        .set_replica(view.replica());
    *rebuilt.reserved_frame_mut() = *view.reserved_frame();
    *rebuilt.reserved_command_mut() = *view.reserved_command();
    assert!(rebuilt == view.to_owned(), "the fields tile the header");

    for offset in 0..16 {
        let moved = [&vec![0xff; offset], &data[..HEADER_LEN]].concat();
        let moved = HeaderView::from_slice(&moved[offset..]).expect("256 bytes");
        assert!(moved == view, "a header reads the same at any address");
        assert_eq!(format!("{moved:?}"), format!("{view:?}"));
    }
}
