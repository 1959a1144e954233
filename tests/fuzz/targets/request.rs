//! What comes over the agent's socket: frames, and the requests and errors in them.

use asyncio_agent::protocol::{
    ControlError, FrameKind, HEADER_BYTES, Request, read_header, read_payload, write_frame,
};
use std::time::Duration;

pub(crate) fn run(data: &[u8]) {
    let mut from = data;
    let kinds = [FrameKind::Request, FrameKind::Answer, FrameKind::Error];
    let payload = match read_header(&mut from, &kinds) {
        Ok(header) => match read_payload(header, &mut from) {
            Ok(payload) => {
                let mut again = Vec::new();
                write_frame(header.kind, &payload, &mut again).expect("it was short enough");
                assert_eq!(again, data[..HEADER_BYTES + payload.len()]);
                payload
            }
            Err(error) => {
                assert_eq!(error.code(), "socket_failed");
                return;
            }
        },
        Err(error) => {
            assert!(error.to_string().len() < 200);
            data.to_vec()
        }
    };
    if let Ok(request) = Request::from_json(&payload) {
        let again = Request::from_json(&request.to_json());
        assert_eq!(again.ok(), Some(request));
    }
    if let Ok(error) = ControlError::from_json(&payload) {
        let again = ControlError::from_json(&error.to_json());
        assert_eq!(again.ok(), Some(error));
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let frame = |kind, json: &[u8]| {
        let mut bytes = Vec::new();
        write_frame(kind, json, &mut bytes).expect("it is short");
        bytes
    };
    let pid = "7".parse().expect("the id of a process");
    let [snapshot, frozen] = [None, Some(Duration::from_millis(50))]
        .map(|freeze| Request::Snapshot { pid, freeze }.to_json());
    let error = ControlError {
        code: "busy".to_owned(),
        message: "x".to_owned(),
        hints: vec!["y".to_owned()],
    };
    vec![
        frame(FrameKind::Request, &snapshot),
        frame(FrameKind::Request, &Request::Findings.to_json()),
        frame(FrameKind::Answer, b"{\"targets\": []}\n"),
        frame(FrameKind::Error, &error.to_json()),
        snapshot,
        frozen,
        Request::Explain(pid).to_json(),
        error.to_json(),
    ]
}
