//! The GPU itself: finding it, noticing that it failed, reading from it. Knows no network.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};

/// How long a GPU may take for one answer: software adapters on a busy machine need seconds, no working GPU needs more.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a browser's adapter is called that does not say its name.
const NAMELESS: &str = "browser";
/// What whoever waits is told; the failure itself is told in its place.
const FAILED: &str = "the GPU failed";

/// A GPU through WebGPU: Vulkan, Metal or DX12 natively, the browser's own in the browser.
#[derive(Debug, Clone)]
pub struct Device {
    device: wgpu::Device,
    queue: wgpu::Queue,
    name: String,
    has_f16: bool,
    trouble: Trouble,
}

impl Device {
    /// The fastest adapter. Software adapters only if `software` is set; a browser does not tell them apart here, its page
    /// has to ask (`isFallbackAdapter`).
    ///
    /// # Errors
    /// [`ErrorKind::NoGpu`] where no adapter is found, or none with WebGPU's default limits.
    pub async fn open(software: bool) -> Result<Device> {
        let instance = wgpu::Instance::new(wgpu::InstanceDescriptor::new_without_display_handle());
        let options = wgpu::RequestAdapterOptions {
            power_preference: wgpu::PowerPreference::HighPerformance,
            ..Default::default()
        };
        let adapter = instance.request_adapter(&options).await.map_err(|error| no_gpu("none", error))?;
        let info = adapter.get_info();
        if info.device_type == wgpu::DeviceType::Cpu && !software {
            let message = format!("expected a GPU, found the software adapter {}", info.name);
            return Err(Error::new(ErrorKind::NoGpu, message));
        }
        let name = if info.name.is_empty() { NAMELESS.to_string() } else { info.name };
        // The default limits are enough for crops; whole photos may need larger buffers.
        let theirs = adapter.limits();
        let limits = wgpu::Limits {
            max_buffer_size: theirs.max_buffer_size,
            max_storage_buffer_binding_size: theirs.max_storage_buffer_binding_size,
            ..wgpu::Limits::default()
        };
        let features = adapter.features() & wgpu::Features::SHADER_F16;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("grnet"),
            required_features: features,
            required_limits: limits,
            ..Default::default()
        };
        let (device, queue) = adapter.request_device(&descriptor).await.map_err(|error| no_gpu(&name, error))?;
        let trouble = Trouble::default();
        let (lost, wrong) = (trouble.clone(), trouble.clone());
        device
            .set_device_lost_callback(move |reason, message| lost.note(format!("device lost ({reason:?}): {message}")));
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| wrong.note(error.to_string())));
        Ok(Device { device, queue, name, has_f16: !features.is_empty(), trouble })
    }

    /// Whether shaders may read half numbers.
    pub fn has_f16(&self) -> bool {
        self.has_f16
    }

    /// The same device used as one that has no half numbers.
    pub fn without_f16(self) -> Device {
        Device { has_f16: false, ..self }
    }

    /// What the adapter is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Gives the GPU back at once; whatever still uses it fails with [`ErrorKind::GpuLost`].
    pub fn destroy(&self) {
        self.device.destroy();
    }

    /// Bytes that a buffer may have in a shader.
    pub(super) fn max_buffer(&self) -> u64 {
        let limits = self.device.limits();
        limits.max_buffer_size.min(limits.max_storage_buffer_binding_size)
    }

    /// What `make` makes, or the first error that the GPU reports of it; `what` is for the message.
    pub(super) async fn checked<T>(
        &self,
        kind: ErrorKind,
        what: &str,
        make: impl FnOnce(&wgpu::Device, &wgpu::Queue) -> T,
    ) -> Result<T> {
        self.check()?;
        let filters = [wgpu::ErrorFilter::Internal, wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation];
        let [outer, middle, inner] = filters.map(|filter| self.device.push_error_scope(filter));
        let made = make(&self.device, &self.queue);
        // All are popped before the first is awaited: the scopes belong to this thread's stack.
        let (inner, middle, outer) = (inner.pop(), middle.pop(), outer.pop());
        let error = (inner.await).or(middle.await).or(outer.await);
        // A lost device makes everything an error; then that is what is wrong.
        self.check()?;
        if let Some(error) = error {
            return Err(Error::caused(kind, format!("expected {} to take {what}", self.name), error.to_string()));
        }
        Ok(made)
    }

    /// Puts `bytes` where the next submission finds them.
    pub(super) fn write(&self, buffer: &wgpu::Buffer, bytes: &[u8]) {
        self.queue.write_buffer(buffer, 0, bytes);
    }

    /// Runs what `encode` encodes, as one submission, and gives what `staging` then holds.
    ///
    /// # Errors
    /// [`ErrorKind::GpuLost`] if the GPU fails or does not answer.
    pub(super) async fn answer(
        &self,
        staging: &wgpu::Buffer,
        encode: impl FnOnce(&mut wgpu::CommandEncoder),
    ) -> Result<Vec<f32>> {
        self.check()?;
        let mut encoder = self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor { label: Some("grnet") });
        encode(&mut encoder);
        let submission = self.queue.submit([encoder.finish()]);
        let (promise, answer) = promise();
        // A browser tells of a loss at once, and refuses the mapping only when the GPU is through with its work.
        self.trouble.end(&promise);
        staging
            .map_async(wgpu::MapMode::Read, .., move |result| promise.keep(result.map_err(|error| error.to_string())));
        // Natively this waits; a browser goes on by itself.
        let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: Some(PATIENCE) };
        self.device.poll(wait).map_err(|error| self.lost(error.to_string()))?;
        let mapped = answer.await;
        self.check()?;
        mapped.map_err(|error| self.lost(error))?;
        let view = staging.get_mapped_range(..);
        let values = view.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        drop(view);
        staging.unmap();
        Ok(values)
    }

    /// Whether the GPU has failed so far.
    fn check(&self) -> Result<()> {
        // Natively, news of a loss comes to those who ask.
        let _ = self.device.poll(wgpu::PollType::Poll);
        self.trouble.first().map_or(Ok(()), |trouble| Err(self.lost(trouble)))
    }

    fn lost(&self, cause: String) -> Error {
        Error::caused(ErrorKind::GpuLost, format!("expected an answer of {}", self.name), cause)
    }
}

/// A buffer that holds `bytes` for the next submission. Not mapped at creation: on a lost device that would panic.
pub(super) fn filled(
    device: &wgpu::Device,
    queue: &wgpu::Queue,
    label: &str,
    usage: wgpu::BufferUsages,
    bytes: &[u8],
) -> wgpu::Buffer {
    let buffer = device.create_buffer(&wgpu::BufferDescriptor {
        label: Some(label),
        size: bytes.len() as u64,
        usage: usage | wgpu::BufferUsages::COPY_DST,
        mapped_at_creation: false,
    });
    queue.write_buffer(&buffer, 0, bytes);
    buffer
}

fn no_gpu(found: &str, cause: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::caused(ErrorKind::NoGpu, format!("expected a WebGPU adapter, found {found}"), cause)
}

/// The first failure that the GPU reported by itself; it stays. With it go the answers that are awaited.
#[derive(Debug, Clone, Default)]
struct Trouble(Arc<Mutex<Failure>>);

#[derive(Debug, Default)]
struct Failure {
    first: Option<String>,
    awaited: Vec<Weak<Mutex<Slot>>>,
}

impl Trouble {
    fn note(&self, message: String) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.first.get_or_insert(message);
        let awaited: Vec<_> = held.awaited.drain(..).filter_map(|slot| slot.upgrade()).collect();
        drop(held);
        awaited.into_iter().for_each(|slot| Promise(slot).keep(Err(FAILED.to_string())));
    }

    fn first(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).first.clone()
    }

    /// Lets a failure, the next or one that was noted already, end what is promised.
    fn end(&self, promise: &Promise) {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        held.awaited.retain(|slot| slot.strong_count() > 0);
        match held.first {
            None => held.awaited.push(Arc::downgrade(&promise.0)),
            Some(_) => promise.keep(Err(FAILED.to_string())),
        }
    }
}

type Outcome = std::result::Result<(), String>;

/// What a callback leaves for the one who waits for it.
#[derive(Debug, Default)]
struct Slot {
    outcome: Option<Outcome>,
    waker: Option<Waker>,
}

/// The callback's end. Dropped unkept it is kept as a failure, so that nobody waits for ever.
struct Promise(Arc<Mutex<Slot>>);

/// The waiting end.
struct Answer(Arc<Mutex<Slot>>);

fn promise() -> (Promise, Answer) {
    let slot = Arc::default();
    (Promise(Arc::clone(&slot)), Answer(slot))
}

impl Promise {
    fn keep(&self, outcome: Outcome) {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.outcome.get_or_insert(outcome);
        if let Some(waker) = slot.waker.take() {
            waker.wake();
        }
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        self.keep(Err("no answer".to_string()));
    }
}

impl Future for Answer {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match slot.outcome.take() {
            Some(outcome) => Poll::Ready(outcome),
            None => {
                slot.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_ends_what_is_awaited_and_what_is_asked_after_it() {
        let trouble = Trouble::default();
        let (kept, before) = promise();
        trouble.end(&kept);
        trouble.note("gone".to_string());
        trouble.note("gone again".to_string());
        let (unkept, after) = promise();
        trouble.end(&unkept);
        // The callbacks may come as late as they like.
        for answer in [before, after] {
            assert_eq!(pollster::block_on(answer), Err(FAILED.to_string()));
        }
        assert_eq!(trouble.first().as_deref(), Some("gone"));
        kept.keep(Ok(()));
        drop(unkept);
    }

    #[test]
    fn an_answer_in_time_stands() {
        let trouble = Trouble::default();
        let (kept, answer) = promise();
        trouble.end(&kept);
        kept.keep(Ok(()));
        trouble.note("gone".to_string());
        assert_eq!(pollster::block_on(answer), Ok(()));
    }
}
