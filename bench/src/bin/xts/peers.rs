// SPDX-License-Identifier: MIT OR Apache-2.0
//! The implementations, ours and others', behind one function: encrypt sectors in place.

use std::ptr;

use aes::cipher::KeyInit;
use opalbox::software::xts::{Backend, Xts};

/// Encrypts `data`, sectors of `size` bytes numbered from `first` in steps of one.
pub trait Implementation: Send {
    fn name(&self) -> &'static str;
    fn encrypt(&mut self, size: usize, first: u64, data: &mut [u8]);
}

/// Ours first, fastest first; then the others. `key` has 32 or 64 bytes.
pub fn all(key: &[u8]) -> (Vec<Box<dyn Implementation>>, Vec<Box<dyn Implementation>>) {
    let mut backends: Vec<_> = Backend::available().collect();
    backends.reverse();
    let ours = backends
        .into_iter()
        .map(|it| Box::new(Xts::with_backend(key, it).expect("available")) as _)
        .collect();
    let others = [AwsLc::new(key), OpenSsl::new(key), Some(xts_mode(key))];
    (ours, others.into_iter().flatten().collect())
}

impl Implementation for Xts {
    fn name(&self) -> &'static str {
        self.backend().name()
    }

    fn encrypt(&mut self, size: usize, first: u64, data: &mut [u8]) {
        Xts::encrypt(self, size, first, 1, data).expect("whole sectors");
    }
}

/// The EVP interface is the same in both libraries, the symbols are not.
macro_rules! evp {
    ($type:ident, $name:literal, $sys:ident, $aes_128:expr) => {
        struct $type(*mut $sys::EVP_CIPHER_CTX);

        // SAFETY: a context may move between threads, it is used by one at a time.
        unsafe impl Send for $type {}

        impl $type {
            #[allow(unused_unsafe)]
            fn new(key: &[u8]) -> Option<Box<dyn Implementation>> {
                // SAFETY: a new context, a key as long as the cipher wants.
                unsafe {
                    let cipher = match key.len() {
                        32 => $aes_128?,
                        _ => $sys::EVP_aes_256_xts(),
                    };
                    let context = $sys::EVP_CIPHER_CTX_new();
                    assert!(!context.is_null());
                    let done = $sys::EVP_EncryptInit_ex(
                        context,
                        cipher,
                        ptr::null_mut(),
                        key.as_ptr(),
                        [0u8; 16].as_ptr(),
                    );
                    assert_eq!(done, 1);
                    Some(Box::new(Self(context)))
                }
            }
        }

        impl Drop for $type {
            fn drop(&mut self) {
                // SAFETY: made by `new`, freed once.
                unsafe { $sys::EVP_CIPHER_CTX_free(self.0) };
            }
        }

        impl Implementation for $type {
            fn name(&self) -> &'static str {
                $name
            }

            fn encrypt(&mut self, size: usize, first: u64, data: &mut [u8]) {
                for (sector, number) in data.chunks_exact_mut(size).zip(first..) {
                    let iv = u128::from(number).to_le_bytes();
                    let mut written = 0;
                    // SAFETY: in place over one sector; the key stays from `new`.
                    let done = unsafe {
                        $sys::EVP_EncryptInit_ex(
                            self.0,
                            ptr::null(),
                            ptr::null_mut(),
                            ptr::null(),
                            iv.as_ptr(),
                        ) & $sys::EVP_EncryptUpdate(
                            self.0,
                            sector.as_mut_ptr(),
                            &mut written,
                            sector.as_ptr(),
                            size as i32,
                        )
                    };
                    assert!(done == 1 && written as usize == size);
                }
            }
        }
    };
}

// aws-lc offers XTS with 256-bit keys only.
evp!(AwsLc, "aws-lc", aws_lc_sys, None);
evp!(OpenSsl, "openssl", openssl_sys, Some(openssl_sys::EVP_aes_128_xts()));

struct XtsMode<C: aes::cipher::BlockCipherEncrypt>(xts_mode::Xts128<C>);

fn xts_mode(key: &[u8]) -> Box<dyn Implementation> {
    let (data, tweak) = key.split_at(key.len() / 2);
    macro_rules! make {
        ($aes:ty) => {
            Box::new(XtsMode(xts_mode::Xts128::new(
                <$aes>::new_from_slice(data).expect("16 or 32 bytes"),
                <$aes>::new_from_slice(tweak).expect("16 or 32 bytes"),
            )))
        };
    }
    match data.len() {
        16 => make!(aes::Aes128),
        _ => make!(aes::Aes256),
    }
}

macro_rules! xts_mode_impl {
    ($aes:ty) => {
        impl Implementation for XtsMode<$aes> {
            fn name(&self) -> &'static str {
                "xts-mode"
            }

            fn encrypt(&mut self, size: usize, first: u64, data: &mut [u8]) {
                self.0.encrypt_area(data, size, first.into(), xts_mode::get_tweak_default);
            }
        }
    };
}
xts_mode_impl!(aes::Aes128);
xts_mode_impl!(aes::Aes256);
