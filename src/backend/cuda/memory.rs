//! Device memory that is given back when its owner goes.

use super::driver::{DevicePtr, Driver};
use crate::error::Result;
use std::sync::Arc;

/// A piece of device memory.
pub struct Buffer {
    driver: Arc<dyn Driver>,
    at: DevicePtr,
    bytes: u64,
}

impl Buffer {
    /// Takes `bytes` of undefined content.
    ///
    /// # Errors
    /// [`crate::error::Error::Device`] if there is not that much left.
    pub fn new(driver: &Arc<dyn Driver>, bytes: u64) -> Result<Buffer> {
        let at = driver.alloc(bytes.max(1))?;
        Ok(Buffer { driver: driver.clone(), at, bytes })
    }

    /// Memory that holds `data`.
    ///
    /// # Errors
    /// As [`Buffer::new`].
    pub fn of<T: bytemuck::NoUninit>(driver: &Arc<dyn Driver>, data: &[T]) -> Result<Buffer> {
        let bytes: &[u8] = bytemuck::cast_slice(data);
        let buffer = Buffer::new(driver, bytes.len() as u64)?;
        driver.write(buffer.at, bytes)?;
        Ok(buffer)
    }

    /// Memory whose bytes are all 0.
    ///
    /// # Errors
    /// As [`Buffer::new`].
    pub fn zeroed(driver: &Arc<dyn Driver>, bytes: u64) -> Result<Buffer> {
        let buffer = Buffer::new(driver, bytes)?;
        driver.fill(buffer.at, 0, bytes)?;
        Ok(buffer)
    }

    /// Where it is.
    pub fn ptr(&self) -> DevicePtr {
        self.at
    }

    /// How much it is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Overwrites its beginning.
    ///
    /// # Errors
    /// [`crate::error::Error::Device`] if the device fails.
    ///
    /// # Panics
    /// If `data` is longer than the memory.
    pub fn write<T: bytemuck::NoUninit>(&self, data: &[T]) -> Result<()> {
        let data: &[u8] = bytemuck::cast_slice(data);
        assert!(data.len() as u64 <= self.bytes, "{} bytes into {}", data.len(), self.bytes);
        self.driver.write(self.at, data)
    }

    /// Copies its first `count` elements to the host.
    ///
    /// # Errors
    /// As [`Buffer::write`].
    ///
    /// # Panics
    /// If it holds fewer.
    pub fn read<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(
        &self,
        count: usize,
    ) -> Result<Vec<T>> {
        let mut data = vec![T::zeroed(); count];
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut data);
        assert!(bytes.len() as u64 <= self.bytes, "{} bytes of {}", bytes.len(), self.bytes);
        self.driver.read(self.at, bytes)?;
        Ok(data)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        self.driver.free(self.at);
    }
}
