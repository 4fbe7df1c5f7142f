//! The bank of a member: rows of floats, or of bytes with a scale per row.

use super::super::bank::BankBytes;
use super::super::manifest::{DType, SectionKind};
use super::super::{Problem, other};
use super::{MemberSections, numbers};
use crate::score::PackedBank;

impl MemberSections<'_> {
    pub(super) fn bank(&self) -> Result<PackedBank, Problem> {
        let dimensions = self.dimensions;
        let (section, data) = self.only(SectionKind::Bank, self.bank_type())?;
        if section.shape.len() != 2
            || section.shape[0] == 0
            || section.shape[1] != dimensions as u64
        {
            return other(format!(
                "bank of shape {:?}; rows of {dimensions} are needed",
                section.shape
            ));
        }
        let values = match self.bank_type() {
            DType::I8 => self.bank_of_bytes(section.shape[0], data)?,
            _ => numbers(data, f32::from_le_bytes),
        };
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return other(format!("bank row {} holds {}", at / dimensions, values[at]));
        }
        Ok(PackedBank::new(values, dimensions))
    }

    /// What the bank's rows are made of; floats where there is no bank.
    pub(super) fn bank_type(&self) -> DType {
        match self.bundle.find(SectionKind::Bank, self.member) {
            Some((section, _)) if section.dtype == DType::I8 => DType::I8,
            _ => DType::F32,
        }
    }

    fn bank_of_bytes(&self, rows: u64, data: &[u8]) -> Result<Vec<f32>, Problem> {
        let (section, scales) = self.only(SectionKind::BankScales, DType::F32)?;
        if section.shape != [rows] {
            return other(format!("scales of the bank of shape {:?}", section.shape));
        }
        let bytes = BankBytes {
            values: numbers(data, i8::from_le_bytes),
            scales: numbers(scales, f32::from_le_bytes),
        };
        match bytes.problem() {
            Some(problem) => other(problem),
            None => Ok(bytes.rows()),
        }
    }
}
